"""Samples groups of responses from a small policy; a group shares its prompt's keys and values.

Each prompt has one forward a group. Responses that have ended leave the batch. A token is drawn by
a cumulative sum and one uniform number, so the same uniform numbers give the same responses,
whatever else is in the batch. On a CPU this takes less than half the time of `generate`
(`benchmarks/rollout.py`).

The policy's own modules compute everything but the attention, which is a backend registered with
transformers' attention interface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from toolrest.core.precision import exact_place
from toolrest.rollout.asking import Ask, OnEnded, Sampled
from toolrest.rollout.draw import Draw, draw_tokens
from toolrest.rollout.prompt_cache import NEVER, PromptCache, ResponseCache, sharing

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sample_groups(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], **options: Any
) -> list[list[int]]:
    """As `sample`, but returns the token ids alone."""
    return sample(model, prompts, **options).ids


@torch.no_grad()
def sample(  # noqa: PLR0913 -- the policy, its prompts, and how each token is drawn
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    group_size: int,
    max_tokens: int,
    end_ids: Sequence[int],
    draw: Draw | None,
    uniforms: torch.Tensor | None = None,
    on_ended: Callable[[int], object] = lambda count: None,
) -> Sampled:
    """Sample `group_size` responses to each prompt.

    Args:
        model: a causal language model for which `can_share_prefix` holds.
        prompts: token ids, at least one a prompt.
        max_tokens: a response that has not ended by then is cut.
        end_ids: a response ends with one of them, which it includes.
        draw: None for greedy decoding.
        uniforms: numbers in [0, 1), float64, [B, max_tokens] with B = prompts * group_size: one for
            each token that may be sampled. None: drawn from torch's global generator.
        on_ended: called with the number of responses that have ended so far, when it grows.
    """
    rollouts = SharedPrefixTurns(model, prompts, group_size=group_size, end_ids=end_ids, draw=draw)
    total = len(prompts) * group_size
    ended = 0

    def count(rows: Sequence[int], ids: Sequence[list[int]]) -> None:
        nonlocal ended
        ended += len(rows)
        on_ended(ended)

    everyone = [Ask(row, [], max_tokens) for row in range(total)]
    return rollouts.turn(everyone, uniforms, count, last=True)


class _Turn(NamedTuple):
    """One turn that is sampled."""

    asked: Sequence[Ask]
    order: torch.Tensor
    """The rows, [B']."""
    shared: PromptCache
    most: int
    uniforms: torch.Tensor | None
    on_ended: OnEnded
    last: bool


class SharedPrefixTurns:
    """Rollouts of several turns: keys and values of a row's earlier turns are kept.

    Args:
        model: a causal language model for which `can_share_prefix` holds.
        prompts: token ids, at least one a prompt; each has `group_size` rows, next to each other.
        group_size: rows of a prompt.
        end_ids: a turn ends with one of them, which it includes.
        draw: None for greedy decoding.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        *,
        group_size: int,
        end_ids: Sequence[int],
        draw: Draw | None,
    ) -> None:
        self._model, self._draw = model, draw
        device = model.device
        self._mask, ids = _padded(prompts, device)
        cache = DynamicCache()
        output = model(
            input_ids=ids,
            attention_mask=self._mask.long(),
            position_ids=(self._mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        layers = cast("list[Any]", cache.layers)
        self._prompts = [(layer.keys, layer.values) for layer in layers]  # each [P, K, L, D]
        self._logits = output.logits[:, -1]
        self._owner = torch.arange(len(prompts), device=device).repeat_interleave(group_size)
        self._ends = torch.tensor(list(end_ids), device=device)
        total = len(prompts) * group_size
        self._position = self._mask.sum(1)[self._owner]
        """Of each row's next token, [B]."""
        self._last = torch.zeros(total, dtype=torch.long, device=device)
        """The last token of each row, which no forward has had yet, [B]; 0 before the first."""
        self._own: list[ResponseCache] = []
        self._place = torch.arange(total, device=device)
        """Where each row's keys and values are in the caches, [B]."""
        self._valid = torch.zeros(total, 0, dtype=torch.bool, device=device)
        """Which columns of the caches hold a token of the row at that place, [places, S]."""

    @torch.no_grad()
    def turn(
        self,
        asked: Sequence[Ask],
        uniforms: torch.Tensor | None = None,
        on_ended: OnEnded = lambda rows, ids: None,
        *,
        last: bool = False,
    ) -> Sampled:
        """Sample one turn of some rows.

        Args:
            asked: the rows, each at most once. One that is not asked in a turn is asked no more.
            uniforms: numbers in [0, 1), float64, [len(asked), greatest `most`]: one for each token
                that may be sampled. None: drawn from torch's global generator.
            on_ended: called as rows end their turns.
            last: whether nobody is asked again, so that nothing has to be kept.

        Returns:
            The turns, in the order of `asked`.
        """
        device, total = self._last.device, len(asked)
        most = max(each.most for each in asked)
        if uniforms is None and self._draw is not None:
            uniforms = torch.rand(total, most, dtype=torch.float64)
        order = torch.tensor([each.row for each in asked], device=device)
        shared = PromptCache(self._prompts, self._mask, self._owner[order])
        turn = _Turn(asked, order, shared, most, uniforms, on_ended, last)
        with sharing(self._model):
            return self._sample(turn, *self._begin(turn))

    def _begin(self, turn: _Turn) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Make room for the turn, and forward what was read since the last.

        Returns:
            (logits of each row's next token [B, V], the bias of its own keys [B, 1, S], or None
            where it sees all of them).
        """
        asked, order, most = turn.asked, turn.order, turn.most
        if not self._own:
            self._own = [ResponseCache(len(asked), most) for _ in self._prompts]
            self._valid = self._valid[order]
            return self._logits[self._owner[order]], None
        device, count = order.device, len(asked)
        valid = self._valid[self._place[order]]
        kept = int(valid.sum(1).max())
        columns = (~valid).sort(dim=1, stable=True).indices[:, :kept]
        width = 1 + max(len(each.seen) for each in asked)
        chunk = torch.zeros(count, width, dtype=torch.long)
        real = torch.zeros(count, width, dtype=torch.bool)
        for row, each in enumerate(asked):
            chunk[row, width - len(each.seen) :] = torch.tensor(each.seen, dtype=torch.long)
            real[row, width - len(each.seen) - 1 :] = True
        chunk, real = chunk.to(device), real.to(device)
        first = real.long().argmax(1)
        chunk[torch.arange(count, device=device), first] = self._last[order]
        used = valid.gather(1, columns)
        for layer in self._own:
            layer.begin(self._place[order], columns, used, width + most)
        self._valid = torch.cat((used, real), dim=1)
        positions = self._position[order][:, None] + (real.long().cumsum(1) - 1)
        sees = self._valid[:, None, :].expand(-1, width, -1).clone()
        sees[:, :, kept:] &= torch.ones(width, width, dtype=torch.bool, device=device).tril()
        bias = self._bias(torch.where(sees, 0.0, NEVER), 0)
        output = self._model(
            input_ids=chunk,
            position_ids=positions.clamp(min=0),
            past_key_values=Cache(layers=cast("list[Any]", self._own)),
            use_cache=True,
            logits_to_keep=1,
            prompts=turn.shared,
            own_bias=bias,
        )
        self._position[order] = positions[:, -1] + 1
        return output.logits[:, -1], self._bias(
            torch.where(self._valid[:, None, :], 0.0, NEVER), most
        )

    def _bias(self, bias: torch.Tensor, more: int) -> torch.Tensor:
        """The bias in the caches' type, with columns that all rows see after it."""
        bias = torch.nn.functional.pad(bias, (0, more))
        return bias.to(self._prompts[0][0].dtype)

    def _sample(self, turn: _Turn, logits: torch.Tensor, bias: torch.Tensor | None) -> Sampled:
        asked, order, shared, most = turn.asked, turn.order, turn.shared, turn.most
        uniforms, last = turn.uniforms, turn.last
        device, total = order.device, len(asked)
        limits = torch.tensor([each.most for each in asked], device=device)
        cache = Cache(layers=cast("list[Any]", self._own))
        sampled = torch.zeros(total, most, dtype=torch.long, device=device)
        drawn = 0 if self._draw is None else most
        statistics = torch.zeros(total, drawn, 3, device=device)
        lengths = limits.clone()
        position = self._position[order]
        rows = torch.arange(total, device=device)
        places = rows.clone()
        """Rows in the order of the caches, those that have ended after the others."""
        for step in range(most):
            if self._draw is None:
                tokens = logits.argmax(-1)
            else:
                assert uniforms is not None
                chosen = uniforms[rows.to(uniforms.device), step].to(exact_place(device))
                tokens, statistics[rows, step] = draw_tokens(logits, self._draw, chosen)
            sampled[rows, step] = tokens
            ended = torch.isin(tokens, self._ends) | (limits[rows] == step + 1)
            if ended.any():
                gone = rows[ended]
                lengths[gone] = step + 1
                _tell(turn.on_ended, asked, gone, sampled, step + 1)
                kept, sources, targets = _compact(ended)
                if len(kept) == 0:
                    break
                active = len(rows)
                rows, tokens, position = rows[kept], tokens[kept], position[kept]
                shared.keep(kept)
                for layer in self._own:
                    layer.move(sources, targets, len(rows), swap=not last)
                if not last:
                    moved = places[:active].clone()
                    moved[targets], moved[sources] = places[sources], places[targets]
                    places[:active] = moved
                if bias is not None:
                    bias = bias[kept]
            output = self._model(
                input_ids=tokens[:, None],
                position_ids=position[:, None],
                past_key_values=cache,
                use_cache=True,
                prompts=shared,
                own_bias=bias,
            )
            logits = output.logits[:, -1]
            position = position + 1
        ids = [row[:length] for row, length in zip(sampled.tolist(), lengths.tolist(), strict=True)]
        if not last:
            forwarded = torch.arange(most, device=device) < (lengths - 1)[:, None]
            self._valid = torch.cat((self._valid, forwarded), dim=1)[places]
            self._place[order[places]] = torch.arange(total, device=device)
            self._position[order] += lengths - 1
            self._last[order] = sampled.gather(1, lengths[:, None] - 1)[:, 0]
            self._valid = self._valid[:, : self._own[0].length]
        return Sampled(ids, [row[: len(r)] for row, r in zip(statistics, ids, strict=True)])


def _tell(
    on_ended: OnEnded, asked: Sequence[Ask], gone: torch.Tensor, sampled: torch.Tensor, length: int
) -> None:
    rows = gone.tolist()
    on_ended([asked[row].row for row in rows], sampled[gone, :length].tolist())


def _compact(ended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compact the batch after EOS: move the last active rows into freed slots.

    Args:
        ended: bool, [B].

    Returns:
        (order of the B' active rows [B'], sources [M], targets [M]): row sources[m] moves to
        targets[m].
    """
    count = int((~ended).sum())
    targets = ended[:count].nonzero().squeeze(1)
    sources = (~ended[count:]).nonzero().squeeze(1) + count
    order = torch.arange(count, device=ended.device)
    order[targets] = sources
    return order, sources, targets


def _padded(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mask, ids), each [P, L], padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = True
    return mask.to(device), ids.to(device)

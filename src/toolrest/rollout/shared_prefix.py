"""Samples groups of responses from a small policy; a group shares its prompt's keys and values.

Each prompt has one forward a group. Responses that have ended leave the batch. A token is drawn by
a cumulative sum and one uniform number, so the same uniform numbers give the same responses,
whatever else is in the batch. On a CPU this takes less than half the time of `generate`
(`benchmarks/rollout.py`).

The policy's own modules compute everything but the attention, which is a backend registered with
transformers' attention interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BACKEND = "toolrest_shared_prefix"
_NEVER = -1e30
"""Added to the scores of padding; finite, so that no row becomes NaN."""


def can_share_prefix(model: PreTrainedModel) -> bool:
    """Whether this sampler computes the policy's attention: full, without soft-capping, through
    transformers' attention interface.
    """
    config: Any = model.config.get_text_config()
    return full_attention(model) and config.model_type in ("qwen2", "qwen3", "llama", "mistral")


def full_attention(model: PreTrainedModel) -> bool:
    """Whether each layer attends to all earlier tokens, without soft-capping, through transformers'
    attention interface.
    """
    config: Any = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or []
    base = cast(Any, model).get_base_model() if hasattr(model, "get_base_model") else model
    return (
        bool(getattr(base, "_supports_attention_backend", False))
        and all(kind == "full_attention" for kind in layers)
        and getattr(config, "sliding_window", None) is None
        and getattr(config, "attn_logit_softcapping", None) is None
    )


class _ResponseCache(CacheLayerMixin):
    """Keys and values of the response tokens, [B, heads, most, size], allocated once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.length = 0
        self.rows = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty(self.rows, heads, self.most, size)
        self.values = value_states.new_empty(self.rows, heads, self.most, size)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[2]
        keys, values = self.keys[: self.rows], self.values[: self.rows]
        keys[:, :, self.length : end] = key_states
        values[:, :, self.length : end] = value_states
        self.length = end
        return keys[:, :, :end], values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.most

    def get_max_cache_shape(self) -> int:
        """What transformers 5.9 and 5.10 call it."""
        return self.most

    def move(self, sources: torch.Tensor, targets: torch.Tensor, rows: int) -> None:
        """Copy rows `sources` to `targets`, then keep the first `rows` rows."""
        if self.is_initialized:
            assert self.keys is not None and self.values is not None
            for states in (self.keys, self.values):
                states[targets, :, : self.length] = states[sources, :, : self.length]
            self.rows = rows


class _PromptCache:
    """Keys and values of P prompts, and the prompt of each of the batch's B rows."""

    def __init__(self, cache: DynamicCache, mask: torch.Tensor, group_size: int) -> None:
        layers = cast("list[Any]", cache.layers)
        self.layers = [(layer.keys, layer.values) for layer in layers]  # each [P, K, L, D]
        dtype = self.layers[0][0].dtype
        self.bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
        self.bias.masked_fill_(~mask, _NEVER)
        self.bias = self.bias[:, None, None, :]
        self.width = group_size
        """Rows of the largest group."""
        self.owner = torch.arange(len(mask), device=mask.device).repeat_interleave(group_size)
        """The prompt of each row, [B]."""
        self._place()

    def _place(self) -> None:
        """Compute `slots`, the index of each row in the padded layout [P * width]."""
        ordered, order = self.owner.sort(stable=True)
        within = torch.arange(len(order), device=order.device)
        within = within - torch.searchsorted(ordered, ordered)
        self.slots = torch.empty_like(order)
        self.slots[order] = ordered * self.width + within
        """Index of each row in the padded layout, [B]."""
        places = torch.arange(len(self.bias) * self.width, device=order.device)
        self.plain = torch.equal(self.slots, places)
        """Whether the rows are in that layout already."""

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows, and the prompts that still have any."""
        self.owner = self.owner[rows]
        counts = torch.bincount(self.owner, minlength=len(self.bias))
        alive = counts > 0
        if not alive.all():
            self.layers = [(keys[alive], values[alive]) for keys, values in self.layers]
            self.bias = self.bias[alive]
            self.owner = (alive.cumsum(0) - 1)[self.owner]
        self.width = int(counts.max())
        self._place()

    def spread(self, rows: torch.Tensor) -> torch.Tensor:
        """[B, ..] -> [P, width, ..]; 0 where a group has fewer rows."""
        if not self.plain:
            padded = rows.new_zeros(len(self.bias) * self.width, *rows.shape[1:])
            padded[self.slots] = rows
            rows = padded
        return rows.view(len(self.bias), self.width, *rows.shape[1:])

    def gather(self, spread: torch.Tensor) -> torch.Tensor:
        """[P, width, ..] -> [B, ..], the reverse of `spread`."""
        rows = spread.reshape(-1, *spread.shape[2:])
        return rows if self.plain else rows[self.slots]


def _attend(  # noqa: PLR0913 -- the arguments of transformers' attention functions
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    prompts: _PromptCache,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """One query token a row over its prompt and its own tokens: two softmaxes joined into one.

    Args:
        query: [B, H, 1, D].
        key: of the row's own tokens, [B, K, S, D]; K divides H.
        value: the same, [B, K, S, D].
    """
    rows, heads, _, size = query.shape
    far_keys, far_values = prompts.layers[cast(int, module.layer_idx)]
    kinds = far_keys.shape[1]
    grouped = query.view(rows, kinds, heads // kinds, size) * scaling

    spread = prompts.spread(grouped).transpose(1, 2)  # [P, K, width, H / K, D]
    shape = spread.shape
    far = torch.matmul(spread.reshape(shape[0], kinds, -1, size), far_keys.transpose(2, 3))
    far = far + prompts.bias  # [P, K, width * H / K, L]
    far_peak = far.amax(-1, keepdim=True)
    far = torch.exp(far - far_peak)
    far_sum = far.sum(-1, keepdim=True)
    far_out = torch.matmul(far, far_values)
    joined = torch.cat((far_out, far_peak, far_sum), dim=-1)
    joined = joined.view(*shape[:4], size + 2).transpose(1, 2)  # [P, width, K, H / K, D + 2]
    far_out, far_peak, far_sum = prompts.gather(joined).split((size, 1, 1), dim=-1)

    own = torch.matmul(grouped, key.transpose(2, 3))  # [B, K, H / K, S]
    peak = torch.maximum(own.amax(-1, keepdim=True), far_peak)
    own = torch.exp(own - peak)
    share = torch.exp(far_peak - peak)
    out = torch.matmul(own, value) + far_out * share
    out = out / (own.sum(-1, keepdim=True) + far_sum * share)
    return out.reshape(rows, 1, heads, size), None


AttentionInterface.register(_BACKEND, cast(Any, _attend))


@contextmanager
def _sharing(model: PreTrainedModel) -> Iterator[None]:
    """Inside the `with` block the model uses `_attend` as its attention."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_BACKEND)
    try:
        yield
    finally:
        model.set_attn_implementation(cast(str, before))


class Sampled(NamedTuple):
    """B responses, those to one prompt next to each other."""

    ids: list[list[int]]
    statistics: list[torch.Tensor]
    """Of each token of each response, float32, [T, 3]: ln p, and of the distribution that it was
    drawn from the entropy in nats and the collision entropy 1 - sum_v p_v^2. Empty if greedy."""


def sample_groups(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], **options: Any
) -> list[list[int]]:
    """The token ids that `sample` gives, which takes the same."""
    return sample(model, prompts, **options).ids


@torch.no_grad()
def sample(  # noqa: PLR0913 -- the policy, its prompts, and how each token is drawn
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    group_size: int,
    max_tokens: int,
    end_ids: Sequence[int],
    temperature: float | None,
    uniforms: torch.Tensor | None = None,
    on_ended: Callable[[int], object] = lambda count: None,
) -> Sampled:
    """Sample `group_size` responses to each prompt.

    Args:
        model: a causal language model for which `can_share_prefix` holds.
        prompts: token ids, at least one a prompt.
        max_tokens: a response that has not ended by then is cut.
        end_ids: a response ends with one of them, which it includes.
        temperature: None for greedy decoding.
        uniforms: numbers in [0, 1), float64, [B, max_tokens] with B = prompts * group_size: one for
            each token that may be sampled. None: drawn from torch's global generator.
        on_ended: called with the number of responses that have ended so far, when it grows.
    """
    device = model.device
    mask, ids = _padded(prompts, device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    prompt_cache = DynamicCache()
    output = model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=positions,
        past_key_values=prompt_cache,
        use_cache=True,
        logits_to_keep=1,
    )
    shared = _PromptCache(prompt_cache, mask, group_size)
    own = [_ResponseCache(max_tokens) for _ in shared.layers]
    cache = Cache(layers=cast("list[Any]", own))
    logits = output.logits[:, -1].repeat_interleave(group_size, 0)
    position = mask.sum(1).repeat_interleave(group_size)
    total = len(prompts) * group_size
    if uniforms is None and temperature is not None:
        uniforms = torch.rand(total, max_tokens, dtype=torch.float64)
    ends = torch.tensor(list(end_ids), device=device)
    sampled = torch.zeros(total, max_tokens, dtype=torch.long, device=device)
    statistics = torch.zeros(total, 0 if temperature is None else max_tokens, 3, device=device)
    lengths = torch.full((total,), max_tokens, device=device)
    rows = torch.arange(total, device=device)
    with _sharing(model):
        for step in range(max_tokens):
            if temperature is None:
                tokens = logits.argmax(-1)
            else:
                assert uniforms is not None
                drawn = uniforms[rows.to(uniforms.device), step].to(device)
                tokens, statistics[rows, step] = _draw(logits, temperature, drawn)
            sampled[rows, step] = tokens
            ended = torch.isin(tokens, ends)
            if ended.any():
                lengths[rows[ended]] = step + 1
                order, sources, targets = _compact(ended)
                rows, tokens, position = rows[order], tokens[order], position[order]
                on_ended(total - len(rows))
                if len(rows) == 0:
                    break
                shared.keep(order)
                for layer in own:
                    layer.move(sources, targets, len(rows))
            if step + 1 == max_tokens:
                on_ended(total)
                break
            output = model(
                input_ids=tokens[:, None],
                position_ids=position[:, None],
                past_key_values=cache,
                use_cache=True,
                prompts=shared,
            )
            logits = output.logits[:, -1]
            position = position + 1
    ids = [row[:length] for row, length in zip(sampled.tolist(), lengths.tolist(), strict=True)]
    return Sampled(ids, [row[: len(r)] for row, r in zip(statistics, ids, strict=True)])


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


def _draw(
    logits: torch.Tensor, temperature: float, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample one token a row by the inverse of its CDF; logits [B, V], uniforms [B].

    Returns:
        (tokens [B], their statistics as in `Sampled` [B, 3]).
    """
    chances = torch.softmax(logits.float() / temperature, dim=-1)
    cumulative = chances.double().cumsum(-1)
    drawn = (uniforms * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, drawn, right=True).clamp(max=logits.shape[1] - 1)
    of_each = (
        chances.gather(1, tokens).log()[:, 0],
        torch.special.entr(chances).sum(-1),
        1.0 - chances.square().sum(-1),
    )
    return tokens[:, 0], torch.stack(of_each, dim=-1)

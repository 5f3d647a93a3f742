"""TRL's trainer whose forwards compute a prompt once for all of its responses."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch

from toolrest.engines.trl.guards import GuardedTrainer
from toolrest.engines.trl.prefix.attention import PackedForwards
from toolrest.engines.trl.prefix.batches import (
    prompts_and_responses,
    regroup,
    take_rows,
    token_shares,
    without_padding,
)
from toolrest.engines.trl.prefix.packing import pack, split_padded, split_rows
from toolrest.engines.trl.prefix.support import check_micro_tokens, why_not
from toolrest.errors import InputError

_BY_ROWS = ("grpo", "sapo", "dr_grpo", "luspo")
"""Losses that are means over responses; those of `bnpo` are means over tokens, others are sums."""

log = logging.getLogger(__name__)


class Scored(NamedTuple):
    """What a forward, or the sampler, tells of response tokens, each [B, T]; 0 where a row has
    none.
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor | None
    collisions: torch.Tensor | None
    """1 - sum_v p_v^2; None where the head does not return it."""


class PrefixSharingTrainer(GuardedTrainer):
    """Computes what several rows share once, and cuts micro-batches by tokens.

    The responses of one prompt stand behind it in one sequence (`packing`), in training, for the
    old policy and wherever rollouts are scored. Rows of a prompt are brought into one micro-batch,
    within an optimiser step's rows, so that the sum of the gradients stays what it is.
    """

    def _share_prefixes(self, asked: str, micro_tokens: int | None) -> None:
        """Settle whether prefixes are shared: `auto`, `on` or `off`.

        Raises:
            InputError: `on` where that is not exact, or settings that `micro_tokens` would change.
        """
        reason = "prefix_sharing=off" if asked == "off" else why_not(cast(Any, self))
        if asked == "on" and reason is not None:
            raise InputError(
                f"prefix_sharing=on: {reason}; use prefix_sharing=auto, which then forwards each "
                "row by itself"
            )
        if asked == "auto" and reason is not None:
            log.warning("prefix_sharing=auto: off, since %s", reason)
        self.shares_prefixes = reason is None
        self.micro_tokens = micro_tokens
        if micro_tokens is not None:
            check_micro_tokens(cast(Any, self))
        self._forwards = PackedForwards()

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *positional, **keywords
    ):
        if not self.shares_prefixes:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *positional, **keywords
            )
        rows = keywords.get("batch_size") or len(input_ids)
        budget = rows * input_ids.size(1)
        scored = self._score_packed(model, input_ids, attention_mask, logits_to_keep, budget)
        return scored.log_probs, scored.entropies, None

    def _score_packed(
        self,
        model: torch.nn.Module,
        ids: torch.Tensor,
        attention: torch.Tensor,
        width: int,
        budget: int,
    ) -> Scored:
        """Score the last `width` tokens of each row, [B, P + T], within a budget of tokens."""
        prompts, responses = without_padding(ids, attention, width)
        parts = split_rows(prompts, responses, budget)
        try:
            found = [
                self._forward_packed(
                    model, [prompts[row] for row in part], [responses[row] for row in part], width
                )
                for part in parts
            ]
        finally:
            if not torch.is_grad_enabled():
                self._forwards.restore()
        order = torch.tensor([row for part in parts for row in part], device=ids.device).argsort()
        columns = zip(*found, strict=True)
        joined = [None if each[0] is None else torch.cat(each)[order] for each in columns]
        return Scored(*cast(Any, joined))

    def _forward_packed(
        self,
        model: torch.nn.Module,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        width: int,
    ) -> Scored:
        packed = pack(prompts, responses, width, self.accelerator.device)
        given = self._forwards.use(self.accelerator.unwrap_model(model), packed)
        with self.accelerator.autocast():
            output = model(**given)
        squares = output.log_sum_sq_probs
        collisions = None if squares is None else packed.unpack(-torch.expm1(squares.detach()))
        entropies = None if output.entropy is None else packed.unpack(output.entropy)
        return Scored(packed.unpack(output.log_probs), entropies, collisions)

    def training_step(self, model, inputs, num_items_in_batch):
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        finally:
            self._forwards.restore()

    def _prepare_inputs(self, generation_batch):
        """As the parent; rows of a prompt come into one micro-batch of their optimiser step."""
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if not self.shares_prefixes or self._buffered_inputs is before:
            return inputs
        buffered = cast(list[dict[str, Any]], self._buffered_inputs)
        window = min(self.args.gradient_accumulation_steps, len(buffered))
        if window > 1:
            self._buffered_inputs = [
                part
                for start in range(0, len(buffered), window)
                for part in regroup(buffered[start : start + window])
            ]
        return self._buffered_inputs[self._step % len(buffered)]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """As the parent; with `micro_tokens`, parts of the rows go forward and backward one after
        the other. All but the last have been through backward when it returns.
        """
        if self.micro_tokens is None or not cast(torch.nn.Module, self.model).training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        parts = self._parts(inputs)
        if len(parts) == 1:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        shares = self._loss_shares(inputs, parts)
        lengths = {name: len(values) for name, values in self._metrics["train"].items()}
        earlier = 0.0
        with self._gathering_uneven_rows():
            for rows, share in zip(parts[:-1], shares[:-1], strict=True):
                with self.accelerator.no_sync(model):
                    loss = share * super().compute_loss(model, take_rows(inputs, rows))
                    self.accelerator.backward(loss)
                earlier += loss.detach()
            loss = shares[-1] * super().compute_loss(model, take_rows(inputs, parts[-1]))
        self._join_metrics(lengths, token_shares(inputs, parts))
        self._batch = inputs  # of which an incident tells: all of them led to the gradient
        return loss + earlier

    @contextmanager
    def _gathering_uneven_rows(self) -> Iterator[None]:
        """Let processes gather a value of each row while their parts have other numbers of rows.

        TRL gathers the rows' shares of clipped tokens and leaves out NaN, which stands here for
        the rows that a process has fewer than another.
        """
        accelerator: Any = self.accelerator
        if accelerator.num_processes == 1:
            yield
            return
        gather = accelerator.gather

        def gather_padded(values: torch.Tensor) -> Any:
            return gather(accelerator.pad_across_processes(values, pad_index=math.nan))

        accelerator.gather = gather_padded
        try:
            yield
        finally:
            del accelerator.gather

    def _parts(self, inputs: dict[str, Any]) -> list[list[int]]:
        """The rows of each part; every process has as many parts, as their metrics are joined."""
        prompts, responses = prompts_and_responses(inputs)
        budget = cast(int, self.micro_tokens)

        def split(least: int) -> list[list[int]]:
            if self.shares_prefixes:
                return split_rows(prompts, responses, budget, least)
            rows = zip(prompts, responses, strict=True)
            return split_padded([len(p) + len(r) for p, r in rows], budget, least)

        parts = split(1)
        count = torch.tensor([len(parts)], device=self.accelerator.device)
        most = int(cast(torch.Tensor, self.accelerator.gather(count)).max())
        return parts if most == len(parts) else split(most)

    def _loss_shares(self, inputs: dict[str, Any], parts: list[list[int]]) -> list[float]:
        """What each part's loss counts in that of all rows."""
        if self.loss_type in _BY_ROWS:
            return [len(rows) / sum(map(len, parts)) for rows in parts]
        return token_shares(inputs, parts) if self.loss_type == "bnpo" else [1.0] * len(parts)

    def _join_metrics(self, lengths: dict[str, int], shares: Sequence[float]) -> None:
        """Make one value of those that the parts have added to each metric: means over tokens."""
        for name, values in self._metrics["train"].items():
            added = values[lengths.get(name, 0) :]
            if len(added) == len(shares):
                if name.endswith(("_min", "/min")):
                    joined = min(added)
                elif name.endswith(("_max", "/max")):
                    joined = max(added)
                else:
                    joined = sum(share * value for share, value in zip(shares, added, strict=True))
                values[lengths.get(name, 0) :] = [joined]

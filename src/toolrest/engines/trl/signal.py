"""TRL's trainer that sketches the regions' gradients of each generation, for weights by signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch

from toolrest.core.regions import Region
from toolrest.core.sketch import CountSketch
from toolrest.core.weights import RegionSignal
from toolrest.core.weights.signal_aware import SignalAware
from toolrest.engines.common.region_signal import SignalTracker
from toolrest.engines.trl.objective import ObjectiveTrainer
from toolrest.engines.trl.prefix.batches import take_rows
from toolrest.errors import InputError

_BY_ROWS = ("grpo", "sapo")
"""Losses that are means over responses of means over tokens; the others weigh tokens alike."""
_OPTIMISERS = ("adamw_torch", "adamw_torch_fused", "sgd")
_FLOOR = 0.03
"""Of Adam's root of the mean v; about sqrt(1 - beta_2), the root of v that one gradient of usual
size leaves in a place that had none."""


class SignalTrainer(ObjectiveTrainer):
    """Measures the regions' gradients, and the reward's, on a part of each generation.

    With A_i the advantage that training counts, T_i the tokens of response i, Y_i its reward, and
    R regions,

        g_r = mean_i A_i / T_i sum_{t in r} grad ln pi(a_t)
        u   = mean_i (Y_i - mean of the other responses' Y) sum_t grad ln pi(a_t)

    by one forward and R + 1 backwards, each of which is sketched at once. T_i is 1, and the mean
    one over tokens, with losses that are that. Inner products are in the metric of the optimiser's
    step: sum_j x_j y_j / (sqrt(v_j / mean v) + 0.03) with Adam's second moments v (`exp_avg_sq`),
    plain with SGD. Before Adam's first step there is no v, and nothing is measured.
    """

    def _start_signal(self, *, acts: bool) -> None:
        """Be ready to measure, where the scheme reads it.

        Args:
            acts: whether responses may have several turns.

        Raises:
            InputError: it cannot be measured with these settings.
        """
        self._rewards: torch.Tensor | None = None
        self._sketch: CountSketch | None = None
        self.signal: SignalTracker | None = None
        if self.scheme.reads_signal:
            self._check_signal(acts)
            self.signal = SignalTracker(self._signal_scheme.decay)

    def _check_signal(self, acts: bool) -> None:
        lacks = [name for name in ("decay", "rows") if not hasattr(self.scheme, name)]
        if lacks:
            raise InputError(
                f"the weighting scheme {type(self.scheme).__name__} has reads_signal and no field "
                f"{', '.join(lacks)}; they say how it is measured, as in SignalAware"
            )
        loss, optim = self.loss_type, str(getattr(self.args.optim, "value", self.args.optim))
        refused = [
            (acts, "responses of several turns: it is measured of single ones; leave them out"),
            (
                self.is_deepspeed_enabled or self.is_fsdp_enabled,
                "DeepSpeed or FSDP: no process has all of a gradient and of the optimiser's "
                "moments; use DDP or one process",
            ),
            (
                optim not in _OPTIMISERS,
                f"optim={optim!r}: its moments are not read; use {', '.join(_OPTIMISERS)}",
            ),
            (loss == "luspo", "loss_type='luspo': it weighs by lengths; use 'grpo'"),
        ]
        for wrong, reason in refused:
            if wrong:
                raise InputError(f"weighting='signal' with {reason}, or another weighting")

    @property
    def _signal_scheme(self) -> SignalAware:
        return cast(SignalAware, self.scheme)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """As the parent; keeps each response's reward, [B] of all processes."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.scheme.reads_signal:
            weighed = rewards * self.reward_weights.to(rewards.device)
            missing = rewards.isnan().all(dim=1)
            self._rewards = weighed.nansum(dim=1).masked_fill(missing, torch.nan)
        return rewards

    def _follow_signal(
        self, output: dict[str, Any], regions: torch.Tensor, mask: torch.Tensor, credited: Any
    ) -> RegionSignal | None:
        """What earlier generations tell, and take this one; None if the scheme reads none.

        Args:
            credited: the advantages, [B] or [B, T].
        """
        if self.signal is None:
            return None
        known, metric = self.signal.known(), self._metric()
        if metric is not None:
            coefficients = self._coefficients(regions, mask, credited)
            self.signal.add(self._sketched(output, coefficients, metric))
        return known

    def _metric(self) -> list[torch.Tensor] | None:
        """The root of each parameter's metric, which gradients are multiplied by; None: it is not
        known yet. Without a second moment, ones.

        Raises:
            InputError: the optimiser is an Adam whose second moments cannot be read.
        """
        optimiser: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        parameters = self._trained()
        squares = [optimiser.state.get(p, {}).get("exp_avg_sq") for p in parameters]
        if any(each is None for each in squares):
            if "betas" not in optimiser.defaults:
                return [p.new_ones(()) for p in parameters]
            if optimiser.state:
                raise InputError(
                    f"weighting='signal' with {type(optimiser).__name__}: it has no exp_avg_sq of "
                    "each parameter; use AdamW or SGD of PyTorch, or another weighting"
                )
            return None
        total = sum(float(each.double().sum()) for each in squares)
        mean = total / sum(p.numel() for p in parameters)
        if mean <= 0:
            return None
        return [((each.float() / mean).sqrt() + _FLOOR).rsqrt() for each in squares]

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self._policy.parameters() if p.requires_grad]

    def _coefficients(
        self, regions: torch.Tensor, mask: torch.Tensor, credited: torch.Tensor
    ) -> torch.Tensor:
        """What multiplies each token's score in each gradient, [number of regions + 1, N, T]; over
        the measured rows of all processes, N of them here.
        """
        processes, update = self.accelerator.num_processes, self._rows_of_an_update()
        rows = min(len(mask), update, -(-int(self._signal_scheme.rows) // processes))
        mask, regions = mask[:rows], regions[:rows]
        tokens = mask.sum()
        count, all_tokens = self._sum_over_ranks(torch.stack((tokens * 0 + rows, tokens))).tolist()
        each = credited[:rows].view(rows, -1).float()
        if self.loss_type in _BY_ROWS:
            each = each / mask.sum(1, keepdim=True).clamp(min=1) / count
        else:
            each = each / max(1, all_tokens)
        aim = self._target_credit()[:rows, None] / count
        places = torch.arange(len(Region), device=mask.device)[:, None, None]
        own = torch.where((regions == places) & mask, each, 0.0)
        return torch.cat((own, torch.where(mask, aim, 0.0)[None]))

    def _rows_of_an_update(self) -> int:
        return self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps

    def _target_credit(self) -> torch.Tensor:
        """Y_i - mean of the other responses' Y of this process's rows, [B]; 0 without a reward."""
        rewards = cast(torch.Tensor, self._rewards).view(-1, self._group_size)
        there = ~rewards.isnan()
        values, counts = rewards.nan_to_num(), there.sum(1, keepdim=True)
        others = (values.sum(1, keepdim=True) - values) / (counts - 1).clamp(min=1)
        found = torch.where(there & (counts > 1), values - others, 0.0).view(-1)
        each = len(found) // self.accelerator.num_processes
        return found[each * self.accelerator.process_index :][:each].float()

    def _sketched(
        self, output: dict[str, Any], coefficients: torch.Tensor, metric: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """The sketches of the gradients, over all processes, [number of regions + 1, K]."""
        parameters = self._trained()
        if self._sketch is None:
            sizes = [p.numel() for p in parameters]
            self._sketch = CountSketch(sizes, device=self.accelerator.device)
        names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        count = coefficients.shape[1]
        inputs = {name: output[name][:count] for name in names}
        device, width = self.accelerator.device, self._sketch.width
        sums = torch.zeros(len(coefficients), width, device=device)
        with self._as_sampled():
            for rows in self._rows_at_a_time(inputs, count):
                part = take_rows(inputs, rows)
                scores = self._scores(part)
                for total, wanted in zip(sums, coefficients[:, rows], strict=True):
                    own = wanted[:, : scores.shape[1]]
                    if own.any():
                        found = torch.autograd.grad(
                            (own * scores).sum(),
                            parameters,
                            retain_graph=True,
                            materialize_grads=True,
                        )
                        scaled = [g.float() * m for g, m in zip(found, metric, strict=True)]
                        total += self._sketch(scaled)
        return self._sum_over_ranks(sums)

    def _rows_at_a_time(self, inputs: dict[str, Any], count: int) -> list[list[int]]:
        """The rows of each forward, as training has them."""
        if self.micro_tokens is not None:
            return self._parts(inputs)
        size = self.args.per_device_train_batch_size
        return [list(range(count))[first : first + size] for first in range(0, count, size)]

    def _scores(self, part: dict[str, Any]) -> torch.Tensor:
        """ln pi of the responses' tokens, with their graph, [N, T]."""
        ids = torch.cat((part["prompt_ids"], part["completion_ids"]), dim=1)
        attention = torch.cat((part["prompt_mask"], part["completion_mask"]), dim=1)
        model = self.accelerator.unwrap_model(self.model)  # DDP knows no autograd.grad
        width = part["completion_ids"].size(1)
        return self._get_per_token_logps_and_entropies(model, ids, attention, width)[0]

    @contextmanager
    def _as_sampled(self) -> Iterator[None]:
        """With gradients, without dropout, so that no random number is drawn."""
        self._policy.eval()
        try:
            with torch.enable_grad():
                yield
        finally:
            self._policy.train()
            self._forwards.restore()

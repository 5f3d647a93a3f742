"""TRL's trainer whose loss has more than weighted advantages: clipping by region, and LLDS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from toolrest.core.clipping import clip_factors
from toolrest.core.llds import lost_likelihood
from toolrest.core.precision import widest
from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, Statistic
from toolrest.engines.trl.config import ClipBy
from toolrest.engines.trl.measuring import MeasuringTrainer, Recording


class ObjectiveTrainer(MeasuringTrainer):
    """Puts into TRL's loss what is no weight of a token.

    What it reads travels with the rows of a generation, so that it stays with its token however
    these are shuffled and cut.
    """

    @property
    def _reads_entropy(self) -> bool:
        """Whether the regions' entropies are measured."""
        return self.scheme.statistic is not None or self._clips_by_region

    @property
    def _clips_by_region(self) -> bool:
        return self.config.clip_by == ClipBy.REGION_ENTROPY

    def _terms(
        self,
        entropy: RegionEntropy | None,
        regions: torch.Tensor,
        credited: torch.Tensor,
        unscored: torch.Tensor | None,
    ) -> dict[str, Any]:
        """What the loss reads of each row, to travel with it.

        Args:
            entropy: of the regions, over all processes; None: not measured.
            regions: of each token, [B, T].
            credited: the advantages before any weight, [B] or [B, T].
            unscored: the rows that nothing is known of, bool, [B].
        """
        found = self._ranges(entropy, regions)
        if self.config.llds > 0:
            found["preserved"] = credited.view(len(credited), -1) >= 0
            if unscored is not None:
                found["preserved"] = found["preserved"] & ~unscored[:, None]
        return found

    def _ranges(self, entropy: RegionEntropy | None, regions: torch.Tensor) -> dict[str, Any]:
        """`clip_factors`, float32, [B, T]: what each token's clipping range is multiplied by; empty
        where all have the same. Logged by region.
        """
        if entropy is None or not self._clips_by_region:
            return {}
        factors = clip_factors(entropy, self.scheme.statistic or Statistic.ENTROPY)
        for region in Region:
            if entropy.count[region] > 0:
                name = f"clip_factor/{region.name.lower()}"
                self._metrics["train"][name].append(factors[region].item())
        device = regions.device
        return {"clip_factors": factors.to(widest(device)).to(device)[regions].float()}

    @contextmanager
    def _clipped(self, inputs: dict[str, Any]) -> Iterator[None]:
        """Let TRL clip each token's ratio to its own range in the `with` block.

        It clamps to 1 - epsilon_low and 1 + epsilon_high, and counts what is beyond: numbers, or
        tensors, [B, T].
        """
        factors = inputs.get("clip_factors")
        if factors is None:
            yield
            return
        low, high = self.epsilon_low, self.epsilon_high
        self.epsilon_low, self.epsilon_high = factors * low, factors * high
        try:
            yield
        finally:
            self.epsilon_low, self.epsilon_high = low, high

    def _compute_loss(self, model, inputs):
        with self._clipped(inputs):
            loss = super()._compute_loss(model, inputs)
        # The policy that sampled has lost nothing, but rounding would open the gate for half of its
        # tokens, whose gradient does not depend on how much they have lost.
        if "preserved" not in inputs or self._sampled_by_this_policy():
            return loss
        return loss + self.config.llds * self._lost(inputs)

    def _lost(self, inputs: dict[str, Any]) -> torch.Tensor:
        """LLDS of the forward that is recorded, aggregated as TRL's loss is; logged, as a mean over
        tokens.
        """
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        log_probs = cast(torch.Tensor, cast(Recording, self._recording).log_probs)
        old = inputs["old_per_token_logps"]
        lost = lost_likelihood(log_probs, old, mask.bool(), inputs["preserved"])
        sums = torch.stack((lost.detach().sum(), mask.sum()))
        total, count = self._sum_over_ranks(sums).tolist()
        self._metrics["train"]["llds"].append(total / max(1.0, count))
        return self._aggregated(lost, mask, inputs)

    def _aggregated(
        self, values: torch.Tensor, mask: torch.Tensor, inputs: dict[str, Any]
    ) -> torch.Tensor:
        """One loss of the tokens' [B, T], as `GRPOTrainer._compute_loss` has it for `loss_type`."""
        steps = cast(int, self.current_gradient_accumulation_steps)
        if self.loss_type in ("grpo", "sapo"):
            return (values.sum(1) / mask.sum(1).clamp(min=1.0)).mean() / steps
        if self.loss_type == "bnpo":
            return values.sum() / mask.sum().clamp(min=1.0) / steps
        if self.loss_type == "dr_grpo":
            return values.sum() / (len(values) * cast(int, self.max_completion_length)) / steps
        if self.loss_type == "luspo":
            return values.sum(1).mean() / steps
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        return values.sum() / (tokens * steps / (self.config.steps_per_generation or 1))

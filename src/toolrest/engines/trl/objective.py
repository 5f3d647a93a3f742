"""TRL's trainer whose loss has, beside weighted advantages, a clipping range for each region."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from toolrest.core.clipping import clip_factors
from toolrest.core.precision import widest
from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, Statistic
from toolrest.engines.trl.config import ClipBy
from toolrest.engines.trl.measuring import MeasuringTrainer


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
            return super()._compute_loss(model, inputs)

"""ResT: region weights from the policy's entropy, moved by a curriculum."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from toolrest.core.precision import widest
from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenBatch
from toolrest.core.weights.entropy import RegionEntropy, Statistic

_FLOOR = 1e-6
"""Keeps the weight of a region without any entropy finite; the clip takes over from there."""


class EntropyRule(StrEnum):
    """How a region's average entropy becomes its starting weight (ResT, section 3)."""

    INVERSE_SCORE = "inverse_score"
    """1 / (1 - exp(-H)): the bound on the score's second moment."""
    INVERSE_ENTROPY = "inverse_entropy"
    """1 / H."""
    COLLISION = "collision"
    """1 / (1 - sum_v p_v^2): the second moment itself."""


@dataclass(frozen=True)
class Rest(Scheme):
    """Reshaped token-level policy gradients (arXiv 2509.21826).

    A region starts from the inverse of its uncertainty, scaled so that the token-weighted mean
    over the regions is 1 and clipped to [w_min, w_max]. With progress nu, format then falls by
    `format_rate` * nu, parameters and reasoning rise by their rates times nu, within the same
    bounds; the name stays. OTHER weighs 1, so that malformed output still learns from a negative
    advantage. Each sequence is normalised last.
    """

    rule: EntropyRule = EntropyRule.INVERSE_SCORE
    """How entropy becomes a weight."""
    curriculum: bool = True
    """Off: the starting weights stay (ablation)."""
    reasoning_gradient: bool = True
    """Off: reasoning weighs 0 (ablation)."""
    w_min: float = 0.5
    """Least weight of a region before normalisation."""
    w_max: float = 2.0
    """Greatest weight of a region before normalisation."""
    format_rate: float = 0.5
    """How much the format's weight falls over the run."""
    parameters_rate: float = 0.5
    """How much the parameters' weight rises over the run."""
    reasoning_rate: float = 0.5
    """How much the reasoning's weight rises over the run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", EntropyRule(self.rule))
        collision = self.rule is EntropyRule.COLLISION
        measured = Statistic.COLLISION if collision else Statistic.ENTROPY
        object.__setattr__(self, "statistic", measured)
        if not 0 <= self.w_min <= self.w_max:
            raise ValueError(f"need 0 <= w_min <= w_max; got {self.w_min} and {self.w_max}")
        rates = (self.format_rate, self.parameters_rate, self.reasoning_rate)
        if min(rates) < 0:
            raise ValueError(f"the curriculum's rates must not be negative; got {rates}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        table, device = self.region_weights(batch.entropy, batch.progress), batch.regions.device
        return table.to(widest(device)).to(device)[batch.regions]

    def region_weights(self, entropy: RegionEntropy, progress: float) -> torch.Tensor:
        """Each region's weight before normalisation, float64, [number of regions]."""
        weights = self._starting_weights(entropy)
        if self.curriculum:
            lower = weights[Region.FORMAT] - self.format_rate * progress
            weights[Region.FORMAT] = lower.clamp(min=self.w_min)
            for region, rate in (
                (Region.PARAMETERS, self.parameters_rate),
                (Region.REASONING, self.reasoning_rate),
            ):
                weights[region] = (weights[region] + rate * progress).clamp(max=self.w_max)
        if not self.reasoning_gradient:
            weights[Region.REASONING] = 0.0
        return weights

    def _starting_weights(self, entropy: RegionEntropy) -> torch.Tensor:
        seen = entropy.count > 0
        seen[Region.OTHER] = False
        mean = torch.where(seen, entropy.mean, 1.0).clamp(min=_FLOOR)
        score = -torch.expm1(-mean) if self.rule is EntropyRule.INVERSE_SCORE else mean
        raw = torch.where(seen, 1 / score, 0.0)
        counts = torch.where(seen, entropy.count, 0.0)
        scale = (raw * counts).sum() / counts.sum().clamp(min=1e-12)
        scaled = (raw / scale.clamp(min=1e-300)).clamp(self.w_min, self.w_max)
        return torch.where(seen, scaled, 1.0)

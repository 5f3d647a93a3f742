"""GTPO: a token's weight follows its entropy within the group."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import TokenStatistics, needed, normalise
from toolrest.core.weights.entropy import RegionEntropy

_FLOOR = 1e-3
"""Nats; keeps the inverse of a certain token's entropy finite."""


@dataclass(frozen=True)
class Gtpo:
    """Token rewards by entropy (arXiv 2508.04349), as public notes quote it.

    A token at position t weighs by the ratio of its entropy to the mean entropy at t of the
    group's responses that are of the same sign and reach t: H_{i,t} / mean_k H_{k,t} where the
    advantage is not negative, and the same of 1 / H where it is, so that exploration is not what a
    bad response is punished for.
    """

    mix: float = 0.5
    """How much of the weight follows the ratio; the rest is 1. Ours."""
    scaffolding: Region = Region.FORMAT
    """See `Scheme.scaffolding`."""
    statistic: None = None
    """Reads no region's entropy."""
    reads_tokens: bool = field(default=True, init=False)
    """See `Scheme.reads_tokens`."""

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ValueError(f"need 0 <= mix <= 1; got {self.mix}")

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`."""
        tokens = needed(tokens, "gtpo")
        good = (tokens.advantages >= 0).unsqueeze(1).expand_as(mask)
        certainty = 1 / tokens.entropy.clamp(min=_FLOOR)
        value = torch.where(good, tokens.entropy.clamp(min=_FLOOR), certainty)
        raw = torch.zeros_like(value)
        for side in (good, ~good):
            counted = mask & side
            grouped = (value * counted).view(-1, tokens.group_size, mask.shape[1])
            count = counted.view(-1, tokens.group_size, mask.shape[1]).sum(1, keepdim=True)
            mean = grouped.sum(1, keepdim=True) / count.clamp(min=1)
            ratio = grouped / mean.clamp(min=1e-12)
            raw += ratio.view_as(raw)
        return normalise(1 - self.mix + self.mix * raw, mask)

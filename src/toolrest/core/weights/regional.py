"""Region weights by hand, such as those of least variance that `toolrest variance` prints."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.precision import widest
from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenBatch


@dataclass(frozen=True)
class Regional(Scheme):
    """A constant weight for each region, then normalised within each sequence."""

    format: float = 1.0
    """Weight of FORMAT."""
    name: float = 1.0
    """Weight of NAME."""
    parameters: float = 1.0
    """Weight of PARAMETERS."""
    reasoning: float = 1.0
    """Weight of REASONING."""
    response: float = 1.0
    """Weight of RESPONSE."""
    other: float = 1.0
    """Weight of OTHER."""

    def __post_init__(self) -> None:
        for region in Region:
            weight = self._of(region)
            if not 0 <= weight < float("inf"):
                raise ValueError(f"need {region.name.lower()} >= 0; got {weight}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        regions = batch.regions
        table = [self._of(region) for region in Region]
        device = regions.device
        return torch.tensor(table, dtype=widest(device), device=device)[regions]

    def _of(self, region: Region) -> float:
        weight: float = getattr(self, region.name.lower())
        return weight

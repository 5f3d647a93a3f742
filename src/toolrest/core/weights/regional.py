"""Region weights by hand, such as those of least variance that `toolrest variance` prints."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import TokenStatistics, normalise
from toolrest.core.weights.entropy import RegionEntropy


@dataclass(frozen=True)
class Regional:
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
    scaffolding: Region = Region.FORMAT
    """See `Scheme.scaffolding`."""
    statistic: None = None
    """Reads no region's entropy."""
    reads_tokens: bool = field(default=False, init=False)
    """See `Scheme.reads_tokens`."""

    def __post_init__(self) -> None:
        for region in Region:
            weight = self._of(region)
            if not 0 <= weight < float("inf"):
                raise ValueError(f"need {region.name.lower()} >= 0; got {weight}")

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`."""
        table = torch.tensor(
            [self._of(region) for region in Region], dtype=torch.float64, device=regions.device
        )
        return normalise(table[regions], mask)

    def _of(self, region: Region) -> float:
        weight: float = getattr(self, region.name.lower())
        return weight

"""Several schemes at once: their weights multiplied and normalised once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenStatistics, normalise
from toolrest.core.weights.entropy import RegionEntropy, Statistic


@dataclass(frozen=True)
class Product:
    """w_t is proportional to the product of the schemes' weights."""

    schemes: Sequence[Scheme]
    """At least one; they must agree on the scaffolding's region and on the statistic they read."""

    def __post_init__(self) -> None:
        if len({scheme.scaffolding for scheme in self.schemes}) != 1:
            raise ValueError("its schemes put a call's scaffolding into different regions")
        if len({s.statistic for s in self.schemes} - {None}) > 1:
            raise ValueError("its schemes read different statistics (entropy and collision)")

    @property
    def scaffolding(self) -> Region:
        """See `Scheme.scaffolding`."""
        return self.schemes[0].scaffolding

    @property
    def statistic(self) -> Statistic | None:
        """See `Scheme.statistic`."""
        return next((s.statistic for s in self.schemes if s.statistic is not None), None)

    @property
    def reads_tokens(self) -> bool:
        """See `Scheme.reads_tokens`."""
        return any(scheme.reads_tokens for scheme in self.schemes)

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`."""
        raw = torch.ones(mask.shape, dtype=torch.float64, device=mask.device)
        for scheme in self.schemes:
            raw = raw * scheme(regions, mask, entropy, progress, tokens)
        return normalise(raw, mask)

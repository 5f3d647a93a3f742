"""Several schemes at once: their weights multiplied and normalised once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolrest.core.precision import widest
from toolrest.core.weights.base import Scheme, TokenBatch


@dataclass(frozen=True)
class Product(Scheme):
    """w_t is proportional to the product of the schemes' weights."""

    schemes: Sequence[Scheme]
    """At least one; they must agree on the scaffolding's region and on the statistic they read."""

    def __post_init__(self) -> None:
        if any(scheme.reads_signal for scheme in self.schemes):
            raise ValueError(
                "signal's weights are the best by themselves, and times others they are not; use "
                "it alone"
            )
        if len({scheme.scaffolding for scheme in self.schemes}) != 1:
            raise ValueError("its schemes put a call's scaffolding into different regions")
        statistics = {s.statistic for s in self.schemes} - {None}
        if len(statistics) > 1:
            raise ValueError("its schemes read different statistics (entropy and collision)")
        object.__setattr__(self, "scaffolding", self.schemes[0].scaffolding)
        object.__setattr__(self, "statistic", next(iter(statistics), None))
        object.__setattr__(self, "reads_tokens", any(s.reads_tokens for s in self.schemes))

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        device = batch.mask.device
        raw = torch.ones(batch.mask.shape, dtype=widest(device), device=device)
        for scheme in self.schemes:
            raw = raw * scheme(batch)
        return raw

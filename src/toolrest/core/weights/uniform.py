"""Every token weighs 1: GRPO."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import TokenStatistics
from toolrest.core.weights.entropy import RegionEntropy


@dataclass(frozen=True)
class Uniform:
    """w_t = 1. Group relative policy optimisation as it is (arXiv 2402.03300)."""

    scaffolding: Region = Region.FORMAT
    """See `Scheme.scaffolding`."""
    statistic: None = None
    """Reads no entropy."""
    reads_tokens: bool = field(default=False, init=False)
    """See `Scheme.reads_tokens`."""

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`. Exactly 1, so that training is bitwise that of GRPO."""
        return mask.float()

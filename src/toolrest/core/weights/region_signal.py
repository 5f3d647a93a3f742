"""What is known of the gradients of each region: their noise, and their signal."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.regions import Region


@dataclass(frozen=True)
class RegionSignal:
    """Second moments of the regions' gradients over earlier batches, in one inner product."""

    noise: torch.Tensor
    """Q_{rs} = E <g_r, g_s> of one batch, float64, [number of regions, number of regions]."""
    signal: torch.Tensor
    """c_r = <E g_r, E u>, u the gradient of the target, float64, [number of regions]."""
    batches: float
    """How many batches the averages are worth; the signal needs more than 1."""

    @classmethod
    def nothing(cls) -> RegionSignal:
        """No batch yet."""
        empty = torch.zeros(len(Region), dtype=torch.float64)
        return cls(torch.zeros(len(Region), len(Region), dtype=torch.float64), empty, 0.0)

"""What is known of the policy's entropy: its average in each region."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from toolrest.core.precision import exact, exact_place, sums_by, widen
from toolrest.core.regions import Region


class Statistic(StrEnum):
    """Which measure of a token's uncertainty is averaged over a region."""

    ENTROPY = "entropy"
    """Shannon entropy H = -sum_v p_v ln p_v, in nats."""
    COLLISION = "collision"
    """1 - sum_v p_v^2, the exact second moment of one softmax step's score; no unit."""


@dataclass(frozen=True)
class RegionEntropy:
    """The sum and the count of a statistic over the tokens of each region.

    Sums and counts, not means, so that the parts of a batch and the ranks of a run add up.
    """

    total: torch.Tensor
    """Sum over the region's tokens, float64, [number of regions]."""
    count: torch.Tensor
    """How many tokens, float64, [number of regions]."""

    @classmethod
    def zero(cls, device: torch.device | str = "cpu") -> RegionEntropy:
        """Nothing measured yet.

        Args:
            device: of the values that will be measured; see `exact_place`.
        """
        empty = torch.zeros(len(Region), dtype=torch.float64, device=exact_place(device))
        return cls(empty, empty.clone())

    @classmethod
    def measure(
        cls, values: torch.Tensor, regions: torch.Tensor, mask: torch.Tensor
    ) -> RegionEntropy:
        """Sum a per-token statistic over each region.

        Args:
            values: the statistic of each token, [B, T].
            regions: `Region` of each token, [B, T].
            mask: the tokens that count, bool or 0/1, [B, T].
        """
        where = torch.where(mask.bool(), regions, -1).flatten()
        wide = widen(values.detach()).flatten()
        total = sums_by(wide, where, len(Region))
        count = sums_by(torch.ones_like(where), where, len(Region))
        return cls(exact(total), exact(count))

    def __add__(self, other: RegionEntropy) -> RegionEntropy:
        return RegionEntropy(self.total + other.total, self.count + other.count)

    def ema_update(self, newer: RegionEntropy, decay: float) -> RegionEntropy:
        """Exponential moving average: `decay` of this, the rest of the newer one.

        Args:
            newer: what was measured since.
            decay: weight of the past, in [0, 1].
        """
        return RegionEntropy(
            decay * self.total + (1 - decay) * newer.total,
            decay * self.count + (1 - decay) * newer.count,
        )

    @property
    def mean(self) -> torch.Tensor:
        """The average of each region, float64, NaN where a region has no token."""
        return self.total / self.count

    def to_lists(self) -> dict[str, list[float]]:
        """For a JSON file; `from_lists` gives the same numbers back, bit for bit."""
        return {"total": self.total.tolist(), "count": self.count.tolist()}

    @classmethod
    def from_lists(
        cls, lists: dict[str, list[float]], device: torch.device | str = "cpu"
    ) -> RegionEntropy:
        """The reverse of `to_lists`.

        Args:
            lists: what `to_lists` gave.
            device: of the values that will be measured; see `exact_place`.
        """
        total, count = (
            torch.tensor(lists[key], dtype=torch.float64, device=exact_place(device))
            for key in ("total", "count")
        )
        return cls(total, count)

"""What every weighting scheme has in common."""

from __future__ import annotations

from typing import Protocol

import torch

from toolrest.regions import Region
from toolrest.weights.entropy import RegionEntropy, Statistic

DELTA = 1e-8
"""Keeps the mean of an all-zero row from being divided by."""


class Scheme(Protocol):
    """Gives every token of a response its weight in the policy gradient."""

    @property
    def scaffolding(self) -> Region:
        """The region that labels put call scaffolding and the end of the turn into."""
        ...

    @property
    def statistic(self) -> Statistic | None:
        """What the scheme's `entropy` argument must have measured; None: it reads none."""
        ...

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
    ) -> torch.Tensor:
        """Weigh the tokens.

        Args:
            regions: `Region` of each token, int64, [B, T].
            mask: the tokens that the loss counts, bool, [B, T].
            entropy: the policy's average entropy in each region, over all ranks.
            progress: step / max_steps, in [0, 1].

        Returns:
            Weights, float32, [B, T]: detached, >= 0, 0 outside the mask, and of mean 1 over each
            row's mask. A row in which every token weighs 0 stays 0.

        Raises:
            ValueError: the scheme needs `entropy` and it is None.
        """
        ...


def normalise(raw: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scale each row to mean 1 over its mask: w_t = raw_t / (mean_t raw_t + delta).

    ResT, section 3: redistributes the gradient within a sequence, does not rescale it.

    Args:
        raw: weights >= 0, [B, T].
        mask: the tokens that the loss counts, bool, [B, T].

    Returns:
        Float32, [B, T]; 0 outside the mask; an empty mask gives 0.
    """
    counted = torch.where(mask, raw.double(), 0.0)
    mean = counted.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (counted / (mean + DELTA)).float()

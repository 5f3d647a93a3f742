"""What every weighting scheme has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.entropy import RegionEntropy, Statistic

DELTA = 1e-8
"""Keeps the mean of an all-zero row from being divided by."""


@dataclass(frozen=True)
class TokenStatistics:
    """What is known of the sampled tokens one by one, under the policy that sampled them."""

    ids: torch.Tensor
    """The tokens, int64, [B, T]."""
    entropy: torch.Tensor
    """Entropy of the distribution that each token was drawn from, nats, [B, T]."""
    surprisal: torch.Tensor
    """-ln p of each token, nats, [B, T]."""
    advantages: torch.Tensor
    """One advantage a response, [B]; a group's responses stand next to each other."""
    group_size: int
    """Responses to one prompt."""


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

    @property
    def reads_tokens(self) -> bool:
        """Whether the scheme needs `tokens`, which cost one more forward a generation."""
        ...

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """Weigh the tokens.

        Args:
            regions: `Region` of each token, int64, [B, T].
            mask: the tokens that the loss counts, bool, [B, T].
            entropy: the policy's average entropy in each region, over all ranks.
            progress: step / max_steps, in [0, 1].
            tokens: what is known of each token, for a scheme that reads it.

        Returns:
            Weights, float32, [B, T]: detached, >= 0, 0 outside the mask, and of mean 1 over each
            row's mask. A row in which every token weighs 0 stays 0.

        Raises:
            ValueError: the scheme needs `entropy` or `tokens` and it is None.
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


def needed(tokens: TokenStatistics | None, scheme: str) -> TokenStatistics:
    """The statistics, for a scheme that cannot do without.

    Raises:
        ValueError: there are none.
    """
    if tokens is None:
        raise ValueError(f"the {scheme} scheme weighs tokens one by one; tokens is None")
    return tokens

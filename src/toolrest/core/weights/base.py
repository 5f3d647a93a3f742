"""What every weighting scheme has in common: what it is given, and what becomes of its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from toolrest.core.precision import widen
from toolrest.core.regions import Region
from toolrest.core.weights.entropy import RegionEntropy, Statistic
from toolrest.core.weights.region_signal import RegionSignal

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


@dataclass(frozen=True)
class TokenBatch:
    """The sampled tokens of B responses, and what a scheme may weigh them by."""

    regions: torch.Tensor
    """`Region` of each token, int64, [B, T]."""
    mask: torch.Tensor
    """The tokens that the loss counts, bool, [B, T]."""
    progress: float = 0.0
    """step / max_steps, in [0, 1]."""
    region_entropy: RegionEntropy | None = None
    """The policy's average entropy in each region, over all ranks; None: not measured."""
    token_statistics: TokenStatistics | None = None
    """What is known of each token; None: not measured, as it may cost one more forward."""
    start_entropy: float | None = None
    """Mean entropy of the tokens of the run's first generation, nats; None: this is the first, or
    the scheme does not read tokens."""
    region_signal: RegionSignal | None = None
    """Noise and signal of the regions' gradients of earlier batches; None: not measured."""

    @property
    def entropy(self) -> RegionEntropy:
        """The average entropy in each region.

        Raises:
            ValueError: the batch has none.
        """
        if self.region_entropy is None:
            raise ValueError("the batch has no region entropies; give the scheme a `statistic`")
        return self.region_entropy

    @property
    def tokens(self) -> TokenStatistics:
        """What is known of each token.

        Raises:
            ValueError: the batch has none.
        """
        if self.token_statistics is None:
            raise ValueError("the batch has no token statistics; set the scheme's `reads_tokens`")
        return self.token_statistics

    @property
    def measured_signal(self) -> RegionSignal:
        """Noise and signal of the regions' gradients.

        Raises:
            ValueError: the batch has none.
        """
        if self.region_signal is None:
            raise ValueError("the batch has no region signal; set the scheme's `reads_signal`")
        return self.region_signal


@dataclass(frozen=True)
class Scheme(ABC):
    """Gives every token of a response its weight in the policy gradient.

    A scheme of your own is a frozen dataclass with a method `weights`; its fields are the options
    that a recipe can set.
    """

    scaffolding: Region = field(default=Region.FORMAT, kw_only=True)
    """The region that labels put call scaffolding and the end of the turn into."""
    statistic: Statistic | None = field(default=None, init=False, repr=False)
    """What `batch.entropy` must have measured; None: the scheme does not read it."""
    reads_tokens: bool = field(default=False, init=False, repr=False)
    """Whether the scheme reads `batch.tokens`, which cost a forward unless the sampler tells."""
    reads_signal: bool = field(default=False, init=False, repr=False)
    """Whether the scheme reads `batch.measured_signal`, gradients by region; the engine trl alone
    measures it, by the scheme's `decay` and `rows`."""

    @abstractmethod
    def weights(self, batch: TokenBatch) -> torch.Tensor:
        """The tokens' weights before they are normalised, >= 0, [B, T]; those outside the mask
        count for nothing.

        Args:
            batch: the tokens, and what is known of them.
        """

    def __call__(self, batch: TokenBatch) -> torch.Tensor:
        """The weights that advantages are multiplied by.

        Args:
            batch: the tokens, with the entropies and statistics that the scheme reads.

        Returns:
            Float32, [B, T]: >= 0, 0 outside the mask, and of mean 1 over each row's mask. A row in
            which every token weighs 0 stays 0.

        Raises:
            ValueError: the scheme reads region entropies, token statistics or the regions' signal
                and the batch has none.
        """
        name = type(self).__name__
        if self.statistic is not None and batch.region_entropy is None:
            raise ValueError(f"{name} weighs by region entropies; batch.region_entropy is None")
        if self.reads_tokens and batch.token_statistics is None:
            raise ValueError(f"{name} weighs tokens one by one; batch.token_statistics is None")
        if self.reads_signal and batch.region_signal is None:
            raise ValueError(f"{name} weighs by gradients; batch.region_signal is None")
        return normalise(self.weights(batch), batch.mask)


def normalise(raw: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scale each row to mean 1 over its mask: w_t = raw_t / (mean_t raw_t + delta).

    ResT, section 3: redistributes the gradient within a sequence, does not rescale it.

    Args:
        raw: weights >= 0, [B, T].
        mask: the tokens that the loss counts, bool, [B, T].

    Returns:
        Float32, [B, T]; 0 outside the mask; an empty mask gives 0.
    """
    counted = torch.where(mask, widen(raw), 0.0)
    mean = counted.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (counted / (mean + DELTA)).float()

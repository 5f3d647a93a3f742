"""STARE: surprising tokens of good responses weigh a little more while entropy is low."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import TokenStatistics, needed, normalise
from toolrest.core.weights.entropy import RegionEntropy


@dataclass(frozen=True)
class Stare:
    """Surprisal-guided token-level reweighting (arXiv 2606.19236), as public notes quote it.

    While the batch's mean entropy is under the target, the tokens of responses of positive
    advantage whose surprisal is in the batch's top share weigh `boost`; all others weigh 1. Over
    the target it is off.
    """

    share: float = 0.2
    """Share of the batch's tokens that count as surprising."""
    boost: float = 1.1
    """Their weight."""
    target_entropy: float = 0.5
    """Nats; the paper's target is a run's own, this one is for the embedded policy."""
    scaffolding: Region = Region.FORMAT
    """See `Scheme.scaffolding`."""
    statistic: None = None
    """Reads no region's entropy."""
    reads_tokens: bool = field(default=True, init=False)
    """See `Scheme.reads_tokens`."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.boost < 0:
            raise ValueError(f"need 0 < share <= 1 and boost >= 0; got {self.share}, {self.boost}")

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`."""
        tokens = needed(tokens, "stare")
        raw = torch.ones_like(tokens.surprisal)
        if mask.any() and tokens.entropy[mask].mean() < self.target_entropy:
            least = torch.quantile(tokens.surprisal[mask].float(), 1 - self.share)
            picked = (tokens.surprisal >= least) & (tokens.advantages > 0).unsqueeze(1)
            raw = torch.where(picked, self.boost, raw)
        return normalise(raw, mask)

"""Only the most uncertain tokens of the reasoning count."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import TokenStatistics, needed, normalise
from toolrest.core.weights.entropy import RegionEntropy


@dataclass(frozen=True)
class TopEntropy:
    """The 80/20 rule (arXiv 2506.01939), inside the reasoning alone.

    Of the batch's reasoning tokens the share of highest entropy weighs 1, the others 0. Tokens of
    all other regions weigh 1: in a call the tokens of low entropy are the ones that decide.
    """

    share: float = 0.2
    """Share of the reasoning tokens that is kept."""
    scaffolding: Region = Region.FORMAT
    """See `Scheme.scaffolding`."""
    statistic: None = None
    """Reads no region's entropy."""
    reads_tokens: bool = field(default=True, init=False)
    """See `Scheme.reads_tokens`."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"need 0 < share <= 1; got {self.share}")

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`."""
        tokens = needed(tokens, "top_entropy")
        reasoning = mask & (regions == Region.REASONING)
        raw = torch.ones_like(tokens.entropy)
        if reasoning.any():
            least = torch.quantile(tokens.entropy[reasoning].float(), 1 - self.share)
            raw = torch.where(reasoning & (tokens.entropy < least), 0.0, raw)
        return normalise(raw, mask)

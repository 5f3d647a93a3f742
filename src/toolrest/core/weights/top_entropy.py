"""Only the most uncertain tokens of the reasoning count."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenBatch
from toolrest.core.weights.shares import top_threshold


@dataclass(frozen=True)
class TopEntropy(Scheme):
    """The 80/20 rule (arXiv 2506.01939), inside the reasoning alone.

    Of the batch's reasoning tokens the share of highest entropy weighs 1, the others 0. Tokens of
    all other regions weigh 1: in a call the tokens of low entropy are the ones that decide.
    """

    share: float = 0.2
    """Share of the reasoning tokens that is kept."""
    reads_tokens = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"need 0 < share <= 1; got {self.share}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        tokens = batch.tokens
        reasoning = batch.mask & (batch.regions == Region.REASONING)
        raw = torch.ones_like(tokens.entropy)
        if reasoning.any():
            least = top_threshold(tokens.entropy[reasoning], self.share)
            raw = torch.where(reasoning & (tokens.entropy < least), 0.0, raw)
        return raw

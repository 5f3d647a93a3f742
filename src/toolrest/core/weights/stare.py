"""STARE: surprising tokens of good responses weigh a little more while entropy is low."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.weights.base import Scheme, TokenBatch
from toolrest.core.weights.shares import top_threshold


@dataclass(frozen=True)
class Stare(Scheme):
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
    reads_tokens = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.boost < 0:
            raise ValueError(f"need 0 < share <= 1 and boost >= 0; got {self.share}, {self.boost}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        tokens = batch.tokens
        raw = torch.ones_like(tokens.surprisal)
        if batch.mask.any() and tokens.entropy[batch.mask].mean() < self.target_entropy:
            least = top_threshold(tokens.surprisal[batch.mask], self.share)
            picked = (tokens.surprisal >= least) & (tokens.advantages > 0).unsqueeze(1)
            raw = torch.where(picked, self.boost, raw)
        return raw

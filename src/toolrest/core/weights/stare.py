"""STARE: surprising tokens of good responses weigh a little more while entropy is low."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.weights.base import Scheme, TokenBatch
from toolrest.core.weights.shares import top_threshold


@dataclass(frozen=True)
class Stare(Scheme):
    """Surprisal-guided token-level reweighting (arXiv 2606.19236), as its authors' code has it by
    default (github.com/hp-luo/STARE, variant O1).

    While the batch's mean entropy is under the target, the top `share` by surprisal of the tokens
    of responses of positive advantage weigh `boost`; all others weigh 1. At the target and over it
    all weigh 1.
    """

    share: float = 0.1
    """Share of the good responses' tokens that count as surprising."""
    boost: float = 1.1
    """Their weight."""
    target_entropy: float | None = None
    """Nats; None: the mean entropy of the run's first generation, in which all weigh 1. Ours: the
    authors set 0.3 for a policy of 7 B and mathematics."""
    reads_tokens = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.boost < 0:
            raise ValueError(f"need 0 < share <= 1 and boost >= 0; got {self.share}, {self.boost}")
        target = self.target_entropy
        number = isinstance(target, int | float) and not isinstance(target, bool)
        if target is not None and not (number and target >= 0):
            raise ValueError(f"need target_entropy >= 0 nats, or null; got {target!r}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        tokens = batch.tokens
        raw = torch.ones_like(tokens.surprisal)
        target = batch.start_entropy if self.target_entropy is None else self.target_entropy
        good = batch.mask & (tokens.advantages > 0).unsqueeze(1)
        if target is not None and good.any() and tokens.entropy[batch.mask].mean() < target:
            least = top_threshold(tokens.surprisal[good], self.share)
            raw = torch.where(good & (tokens.surprisal >= least), self.boost, raw)
        return raw

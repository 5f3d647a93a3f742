"""ActFocus: less for the reasoning, more for uncertain tokens of the action."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenBatch


@dataclass(frozen=True)
class ActFocus(Scheme):
    """Action tokens first (arXiv 2605.14558), as public notes quote it.

    Reasoning weighs `reasoning`. A token of the action (everything else) weighs
    1 + energy * (H_t / mean H of the batch's action tokens - 1), at least 0.
    """

    reasoning: float = 0.1
    """Weight of the reasoning. Ours: the notes give no number."""
    energy: float = 0.5
    """How far an action token's weight follows its entropy, in [0, 1]. Ours."""
    reads_tokens = True

    def __post_init__(self) -> None:
        if self.reasoning < 0 or not 0 <= self.energy <= 1:
            raise ValueError(
                f"need reasoning >= 0 and 0 <= energy <= 1; got {self.reasoning}, {self.energy}"
            )

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        tokens = batch.tokens
        action = batch.mask & (batch.regions != Region.REASONING)
        mean = (tokens.entropy * action).sum() / action.sum().clamp(min=1)
        relative = tokens.entropy / mean.clamp(min=1e-12)
        raw = (1 + self.energy * (relative - 1)).clamp(min=0)
        return torch.where(batch.regions == Region.REASONING, self.reasoning, raw)

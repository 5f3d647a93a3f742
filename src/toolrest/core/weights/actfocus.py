"""ActFocus: less for the reasoning, more for uncertain tokens of the action."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.base import TokenStatistics, needed, normalise
from toolrest.core.weights.entropy import RegionEntropy


@dataclass(frozen=True)
class ActFocus:
    """Action tokens first (arXiv 2605.14558), as public notes quote it.

    Reasoning weighs `reasoning`. A token of the action (everything else) weighs
    1 + energy * (H_t / mean H of the batch's action tokens - 1), at least 0.
    """

    reasoning: float = 0.1
    """Weight of the reasoning. Ours: the notes give no number."""
    energy: float = 0.5
    """How far an action token's weight follows its entropy, in [0, 1]. Ours."""
    scaffolding: Region = Region.FORMAT
    """See `Scheme.scaffolding`."""
    statistic: None = None
    """Reads no region's entropy."""
    reads_tokens: bool = field(default=True, init=False)
    """See `Scheme.reads_tokens`."""

    def __post_init__(self) -> None:
        if self.reasoning < 0 or not 0 <= self.energy <= 1:
            raise ValueError(
                f"need reasoning >= 0 and 0 <= energy <= 1; got {self.reasoning}, {self.energy}"
            )

    def __call__(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        entropy: RegionEntropy | None,
        progress: float,
        tokens: TokenStatistics | None = None,
    ) -> torch.Tensor:
        """See `Scheme.__call__`."""
        tokens = needed(tokens, "actfocus")
        action = mask & (regions != Region.REASONING)
        mean = (tokens.entropy * action).sum() / action.sum().clamp(min=1)
        relative = tokens.entropy / mean.clamp(min=1e-12)
        raw = (1 + self.energy * (relative - 1)).clamp(min=0)
        return normalise(torch.where(regions == Region.REASONING, self.reasoning, raw), mask)

"""The constants of ResT's released code, on correct regions."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.precision import widest
from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenBatch

NAME = 1.2
TAGS = 1.0
START = 0.6
SLOPE = 0.002
PARAMETERS_MAX = 1.2
REASONING_MAX = 1.0
CLIP = (0.001, 8.0)


@dataclass(frozen=True)
class Official(Scheme):
    """Name 1.2, tags 1, parameters and reasoning 0.6 rising by 0.002 a step, all else 0.

    The released code divides by the mean over the tokens of positive weight and sums w * loss / w
    over a micro-batch; divided by the mean over all tokens, with a mean over each sequence, that
    is the same ratio within a sequence. Its label defects are not reproduced.
    """

    steps: int = 105
    """Generations of the run that the slope was made for, which verl counts as its steps; a run's
    progress is stretched over them."""
    scaffolding: Region = field(default=Region.OTHER, kw_only=True)
    """The released code gives the JSON scaffolding and the end of the turn no gradient."""
    other: float = field(default=0.0, kw_only=True)
    """Weight of OTHER: text in no block, such as broken output. The released code: 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.other < float("inf"):
            raise ValueError(f"need other >= 0; got {self.other}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        rising = START + SLOPE * self.steps * batch.progress
        device = batch.regions.device
        table = torch.zeros(len(Region), dtype=widest(device), device=device)
        table[Region.NAME] = NAME
        table[Region.FORMAT] = TAGS
        table[Region.OTHER] = self.other
        table[Region.PARAMETERS] = min(PARAMETERS_MAX, rising)
        table[Region.REASONING] = min(REASONING_MAX, rising)
        table = torch.where(table > 0, table.clamp(*CLIP), table)
        return table[batch.regions]

"""What a sampler of turns is asked, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

STATISTICS = 3
"""How many numbers are told of a token; see `Sampled`."""


class Sampled(NamedTuple):
    """B responses, those to one prompt next to each other."""

    ids: list[list[int]]
    statistics: list[torch.Tensor]
    """Of each token of each response, float32, [T, 3]: ln p, and of its distribution the entropy in
    nats and the collision entropy 1 - sum_v p_v^2, all at the temperature and before tokens are
    left out. Empty if greedy."""


class Ask(NamedTuple):
    """A row that samples a turn."""

    row: int
    """Which one, from 0."""
    seen: Sequence[int]
    """Ids that it reads before: what followed its last turn."""
    most: int
    """A turn that has not ended by then is cut."""


OnEnded = Callable[[Sequence[int], Sequence[list[int]]], object]
"""Called with the rows whose turn has ended, and the ids of the turns."""


class TurnSampler(Protocol):
    """Samples turns of rows whose earlier ids it knows."""

    def turn(
        self, asked: Sequence[Ask], uniforms: torch.Tensor | None, on_ended: OnEnded
    ) -> Sampled:
        """See `toolrest.rollout.shared_prefix.SharedPrefixTurns.turn`."""
        ...


SamplerOf = Callable[[list[list[int]], int], TurnSampler]
"""Makes the sampler of some prompts, each of which has so many rows next to each other."""

"""One rollout of several turns by itself, in an event loop where many others are played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import torch

from toolrest.rollout.asking import STATISTICS
from toolrest.rollout.turns import Playing


class Said(NamedTuple):
    """A turn that was sampled."""

    ids: list[int]
    """T ids."""
    log_probs: list[float] | None = None
    """ln p of each, [T]; None: not known."""


class NotSampled(Exception):
    """A turn cannot be sampled, for a reason that is not the policy's; in one line."""


SampleTurn = Callable[[list[int], int], Awaitable[Said]]
"""Samples a turn after all ids before it, of at most so many."""


async def play_alone(row: Playing, sample: SampleTurn) -> None:
    """Play a rollout to its end. Whatever its environment does is in its trajectory, whose
    statistics are ln p alone, the others NaN.

    Args:
        row: a rollout that begins.
        sample: where it raises `NotSampled` the rollout has failed, as one whose environment did.
    """
    trajectory = row.trajectory
    while trajectory.ending is None:
        try:
            said = await sample([*trajectory.prompt_ids, *trajectory.ids, *row.seen], row.room)
        except NotSampled as error:
            row.fail(str(error))
            return
        row.begin(said.ids)
        statistics = torch.full((len(said.ids), STATISTICS), torch.nan)
        if said.log_probs is not None:
            statistics[:, 0] = torch.tensor(said.log_probs)
        row.add(said.ids, statistics)
        while row.answer is not None:
            await asyncio.gather(asyncio.wrap_future(row.answer), return_exceptions=True)
            row.take()

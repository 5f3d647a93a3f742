"""Many rollouts of several turns, side by side: while some rows still sample, the environments of
those that have ended their turn are at work already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from toolrest.environments.base import Ending
from toolrest.rollout.asking import Ask, TurnSampler
from toolrest.rollout.seams import Seams
from toolrest.rollout.turns import Playing, Trajectory, TurnLimits

if TYPE_CHECKING:
    from toolrest.environments.episode import Episode


@dataclass(frozen=True)
class Player:
    """Lets a policy play episodes."""

    sampler: TurnSampler
    """Samples its turns."""
    seams: Seams
    """What stands between them."""
    limits: TurnLimits
    """When it ends."""

    def play(
        self,
        prompts: Sequence[Sequence[int]],
        episodes: Sequence[Episode | str],
        uniforms: Callable[[int], torch.Tensor | None] = lambda turn: None,
        tools: Sequence[Any] | None = None,
    ) -> list[Trajectory]:
        """Play each episode to its end, all of them side by side.

        Args:
            prompts: the ids that each begins with, as the sampler knows them, [B] lists.
            episodes: each after its `reset`; a text: why it could not begin.
            uniforms: numbers in [0, 1) for the turn of that number, float64,
                [B, at least turn_tokens]; None: drawn from torch's global generator.
            tools: what may be called in each, in OpenAI's form; None: not known.

        Returns:
            The trajectories, [B]. Whatever the environments do is in them; nothing is raised for
            it.
        """
        trajectories = [Trajectory(list(ids)) for ids in prompts]
        rows: dict[int, Playing] = {}
        for at, (trajectory, episode) in enumerate(zip(trajectories, episodes, strict=True)):
            if isinstance(episode, str):
                trajectory.ending, trajectory.failure = Ending.FAILED, episode
                continue
            known = None if tools is None else tools[at]
            rows[at] = Playing(trajectory, episode, self.seams, self.limits, known)
        number = 0
        while rows:
            self._turn(rows, uniforms(number))
            number += 1
            for at, row in list(rows.items()):
                if row.trajectory.ending is not None:
                    row.episode.close()
                    del rows[at]
        return trajectories

    def _turn(self, rows: dict[int, Playing], uniforms: torch.Tensor | None) -> None:
        """One turn of every row that goes on."""
        asked = [Ask(at, row.seen, row.room) for at, row in rows.items()]
        if uniforms is not None:
            uniforms = uniforms[list(rows)]

        def begin(ended: Sequence[int], turns: Sequence[list[int]]) -> None:
            for at, ids in zip(ended, turns, strict=True):
                rows[at].begin(ids)

        said = self.sampler.turn(asked, uniforms, begin)
        drawn = said.statistics
        for place, each in enumerate(asked):
            ids = said.ids[place]
            known = len(drawn) > place and len(drawn[place]) == len(ids)
            rows[each.row].add(ids, drawn[place].cpu() if known else None)
        waiting = list(rows.values())
        while waiting:  # a turn that ends its rollout has a second answer, for all at once
            for row in waiting:
                row.take()
            waiting = [row for row in waiting if row.answer is not None]

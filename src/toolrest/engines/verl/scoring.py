"""What the rows of verl's batches have earned. Knows no verl."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolrest.core.rewards.schedule import RewardSchedule
from toolrest.engines.common.episodes import episode_metrics, recorded_episode
from toolrest.engines.common.reward import PARTS
from toolrest.engines.verl.episodes import RECORD
from toolrest.engines.verl.weights import WeightsNotApplied
from toolrest.rollout.turns import Trajectory


@dataclass(frozen=True)
class Scored:
    """What the rows of a batch have earned."""

    rewards: torch.Tensor
    """Float64, [B]; NaN where an environment failed; 0 in padding rows."""
    metrics: dict[str, float]
    """Their mean and those of their parts."""
    episodes: Sequence[Trajectory | None] | None = None
    """Of each row, [B]; None in padding rows. None: there is no environment."""

    @property
    def failures(self) -> list[str]:
        """Why environments failed, one a row that has failed."""
        found = [each.failure for each in self.episodes or () if each is not None]
        return [each for each in found if each is not None]


def scheduled_scores(
    extra: Sequence[Mapping[str, Any]],
    padding: Sequence[bool],
    schedule: RewardSchedule,
    progress: float,
) -> Scored | None:
    """The rewards of single responses by their parts, which `toolrest`'s reward function gave.

    Args:
        extra: verl's extra fields of each row, [B].
        padding: which rows are synthetic, [B].

    Returns:
        None where another function gave rewards, without parts.
    """
    rows = [row for row, padded in enumerate(padding) if not padded]
    parts = [extra[row].get("reward_extra_info", {}) for row in rows]
    if not all("correctness_counts" in part for part in parts):
        return None
    rewards = torch.zeros(len(padding), dtype=torch.float64)
    for row, part in zip(rows, parts, strict=True):
        form, right = schedule.rewards(part["format"], part["correctness"], progress)
        rewards[row] = form + (right if part["correctness_counts"] else 0.0)
    count = max(1, len(rows))
    metrics = {"reward": rewards.sum().item() / count}
    for name in PARTS:
        metrics[f"reward/{name}"] = sum(float(part[name]) for part in parts) / count
    return Scored(rewards, metrics)


def episode_scores(extra: Sequence[Mapping[str, Any]], padding: Sequence[bool]) -> Scored:
    """What episodes have earned, by the records that `EpisodeAgentLoop` left.

    Args:
        extra: verl's extra fields of each row, [B].
        padding: which rows are synthetic, [B].

    Raises:
        WeightsNotApplied: a row has no record.
    """
    episodes: list[Trajectory | None] = []
    for fields, padded in zip(extra, padding, strict=True):
        if not padded and RECORD not in fields:
            raise WeightsNotApplied(
                "a trajectory has no record of an episode: verl did not play it by toolrest's "
                "agent loop, so nobody knows what its turns earned"
            )
        episodes.append(None if padded else recorded_episode(json.loads(fields[RECORD])))
    played = [each for each in episodes if each is not None]
    values = episode_metrics(played)
    values["reward"] = values["episode/reward"]
    metrics = {name: sum(found) / len(found) for name, found in values.items() if found}
    rewards = [
        0.0 if each is None else math.nan if each.reward is None else each.reward
        for each in episodes
    ]
    return Scored(torch.tensor(rewards, dtype=torch.float64), metrics, episodes)

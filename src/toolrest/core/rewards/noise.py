"""Label noise: some responses earn what the opposite would have earned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolrest.core.rewards.schedule import RewardSchedule
from toolrest.core.rewards.score import RewardBreakdown


def flipped(seed: int, place: tuple[int, int], rows: slice, share: float) -> np.ndarray:
    """Which responses of a generation are flipped, each by itself with the same probability; bool.

    Args:
        seed: the run's.
        place: optimiser steps done before the generation, and forwards of the step that is under
            way, which is 0 but where a step is on several generations.
        rows: these rows' part of the generation, so that processes that share it draw as one does.
        share: the probability, in [0, 1].
    """
    return np.random.default_rng((seed, *place)).random(rows.stop)[rows] < share


def noisy_totals(
    breakdowns: Sequence[RewardBreakdown],
    flips: Sequence[bool] | np.ndarray,
    schedule: RewardSchedule,
    progress: float,
) -> list[float]:
    """The rewards, where that of a flipped response has the correctness 1 - c in place of c; its
    format counts as it is.

    A correctness reward is linear in c, so the opposite's is least + greatest of that format - its
    own.

    Args:
        breakdowns: true scores, [B].
        flips: which are flipped, [B].
        schedule: that of the breakdowns.
        progress: step / max_steps at which they were scored.
    """

    def opposite(each: RewardBreakdown) -> float:
        ends = (schedule.rewards(each.format, right, progress)[1] for right in (0.0, 1.0))
        return each.format_reward + sum(ends) - each.correctness_reward

    return [
        opposite(each) if flip else each.total for each, flip in zip(breakdowns, flips, strict=True)
    ]

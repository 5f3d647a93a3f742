"""Label noise: some responses earn what the opposite would have earned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolrest.core.rewards.score import RewardBreakdown, RewardRules


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
    rules: RewardRules,
    progress: float,
) -> list[float]:
    """The rewards, where that of a flipped response has the correctness 1 - c in place of c; its
    format counts as it is.

    A correctness reward is linear in c, so the opposite's is least + greatest of that format - its
    own. Where no call is due and calls are not punished correctness earns nothing, flipped or not.

    Args:
        breakdowns: true scores, [B].
        flips: which are flipped, [B].
        rules: those by which they were scored.
        progress: step / max_steps at which they were scored.
    """

    def opposite(each: RewardBreakdown) -> float:
        least, own, greatest = (
            rules.schedule.rewards(each.format, right, progress)[1]
            for right in (0.0, each.correctness, 1.0)
        )
        unpunished = each.over_called and not rules.punish_over_calls
        if unpunished or own != each.correctness_reward:  # it does not count
            return each.total
        return each.format_reward + least + greatest - own

    return [
        opposite(each) if flip else each.total for each, flip in zip(breakdowns, flips, strict=True)
    ]

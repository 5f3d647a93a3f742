"""Reward schedule: the weight of the format moves to the correctness as training proceeds."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.errors import look_up

Range = tuple[float, float]


@dataclass(frozen=True)
class RewardSchedule:
    """Ranges onto which the two scores in [0, 1] are mapped, at the start and at the horizon."""

    format_start: Range
    """(least, greatest) format reward at progress 0."""
    format_end: Range
    """The same at the horizon and after."""
    correctness_start: Range
    """(least, greatest) correctness reward at progress 0."""
    correctness_end: Range
    """The same at the horizon and after."""
    horizon: float = 1.0
    """Progress at which the end is reached; linear before."""
    floor_horizon: float | None = None
    """Progress at which the least format reward reaches its end; None: with the rest."""
    gated: bool = False
    """Whether correctness counts for nothing where the format is not right."""

    def rewards(self, format: float, correctness: float, progress: float) -> Range:
        """(format reward, correctness reward) of two scores in [0, 1] at a progress in [0, 1]."""
        nu = _share(progress, self.horizon)
        floor = _share(progress, self.floor_horizon or self.horizon)
        if self.gated:
            correctness = correctness * format
        return (
            _scale(format, self.format_start, self.format_end, floor, nu),
            _scale(correctness, self.correctness_start, self.correctness_end, nu, nu),
        )


def _share(progress: float, horizon: float) -> float:
    """The part of the way to the horizon, at most 1."""
    return progress / horizon if progress < horizon else 1.0


def _scale(score: float, start: Range, end: Range, floor: float, ceiling: float) -> float:
    """The score on the range that is so far, each bound for itself, from its start to its end."""
    low = start[0] + (end[0] - start[0]) * floor
    high = start[1] + (end[1] - start[1]) * ceiling
    return low + (high - low) * score


_PLAIN: tuple[Range, Range] = ((0.0, 1.0), (-3.0, 3.0))

_STEPS = 105
"""Generations of the run that the released schedule was made for; progress stretches over them."""

_SCHEDULES = {
    "constant": RewardSchedule(_PLAIN[0], _PLAIN[0], _PLAIN[1], _PLAIN[1]),
    "rest": RewardSchedule((-2.0, 2.0), (-1.0, 1.0), (-2.0, 2.0), (-3.0, 3.0)),
    "official": RewardSchedule(
        (-2.0, 2.0), (-1.0, 1.0), (-2.0, 2.0), (-3.0, 3.0), 150 / _STEPS, 75 / _STEPS
    ),
    "binary": RewardSchedule((0.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.0, 1.0), gated=True),
}


def get_schedule(name: str) -> RewardSchedule:
    """`constant`: ToolRL's ranges. `rest`: ResT's, over the whole run. `official`: as released,
    at step s of a run of 105 generations: format from min(-1, -2 + 2 s/150) to max(1, 2 - s/150),
    correctness from max(-3, -2 - s/150) to min(3, 2 + s/150). `binary`: Tool-N1's (arXiv
    2505.00024) with the correctness `exact`: 1 where format and calls are right, else 0.

    Raises:
        InputError: there is no schedule of that name.
    """
    return look_up("reward schedule", name, _SCHEDULES)


def schedule_names() -> tuple[str, ...]:
    """The names that `get_schedule` knows."""
    return tuple(_SCHEDULES)

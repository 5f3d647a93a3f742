"""Reward schedule: the weight of the format moves to the correctness as training proceeds."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.errors import InputError
from toolrest.naming import unknown_name

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

    def rewards(self, format: float, correctness: float, progress: float) -> Range:
        """(format reward, correctness reward) of two scores in [0, 1] at a progress in [0, 1]."""
        nu = progress / self.horizon if progress < self.horizon else 1.0
        return (
            _scale(format, self.format_start, self.format_end, nu),
            _scale(correctness, self.correctness_start, self.correctness_end, nu),
        )


def _scale(score: float, start: Range, end: Range, nu: float) -> float:
    low = start[0] + (end[0] - start[0]) * nu
    high = start[1] + (end[1] - start[1]) * nu
    return low + (high - low) * score


_PLAIN: tuple[Range, Range] = ((0.0, 1.0), (-3.0, 3.0))

_SCHEDULES = {
    "constant": RewardSchedule(_PLAIN[0], _PLAIN[0], _PLAIN[1], _PLAIN[1]),
    "rest": RewardSchedule((-2.0, 2.0), (-1.0, 1.0), (-2.0, 2.0), (-3.0, 3.0)),
    "official": RewardSchedule(
        (-2.0, 2.0), (-1.0, 1.0), (-2.0, 2.0), (-3.0, 3.0), horizon=150 / 105
    ),
}


def get_schedule(name: str) -> RewardSchedule:
    """`constant`: ToolRL's ranges. `rest`: ResT's, over the whole run. `official`: as released,
    over 150 steps of a run of 105.

    Raises:
        InputError: there is no schedule of that name.
    """
    if name not in _SCHEDULES:
        raise InputError(unknown_name("reward schedule", name, _SCHEDULES))
    return _SCHEDULES[name]


def schedule_names() -> tuple[str, ...]:
    """The names that `get_schedule` knows."""
    return tuple(_SCHEDULES)

"""What the figures of a run's held-out evaluations are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A figure of an evaluation."""

    key: str
    """Its name in the evaluation's file."""
    label: str
    """What readers see."""
    form: str
    """How its value is written, as for `str.format`."""
    range: str = ""
    """From where to where it goes, where that is known."""

    @property
    def share(self) -> bool:
        """Whether it is a share of tasks."""
        return self.form.endswith("%}")

    @property
    def full_label(self) -> str:
        """The label with the range."""
        return f"{self.label} ({self.range})" if self.range else self.label


_RANGE = "-3 to 4"
"""Of the reward of single responses by the constant schedule."""
_RESPONSES = (
    Figure("exact_match", "exact match, sampled", "{:.1%}"),
    Figure("greedy_exact_match", "exact match, greedy", "{:.1%}"),
    Figure("reward", "reward, sampled", "{:.2f}", _RANGE),
    Figure("greedy_reward", "reward, greedy", "{:.2f}", _RANGE),
)
_EPISODES = (
    Figure("exact_match", "tasks done, sampled", "{:.1%}"),
    Figure("greedy_exact_match", "tasks done, greedy", "{:.1%}"),
    Figure("reward", "reward, sampled", "{:.2f}"),
    Figure("greedy_reward", "reward, greedy", "{:.2f}"),
    Figure("turns", "turns, sampled", "{:.2f}"),
    Figure("greedy_turns", "turns, greedy", "{:.2f}"),
)


def of_episodes(found: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of an environment's episodes, and not of single responses."""
    return "turns" in found


def figures_of(found: Mapping[str, Any]) -> tuple[Figure, ...]:
    """The figures that an evaluation can have, in the order in which they are shown."""
    return _EPISODES if of_episodes(found) else _RESPONSES


def measure(*, acts: bool) -> str:
    """The first figure's name without how it was decoded.

    Args:
        acts: whether the run is in an environment.
    """
    return "tasks done" if acts else "exact match"


def scored(found: Mapping[str, Any]) -> int:
    """Tasks that a share of an evaluation is of, at least 1; those whose environment failed, which
    are counted over both decodings, are left out of both.
    """
    failed = found.get("failed", 0)
    return max(1, int(found["n"]) - (failed if isinstance(failed, int) else 0))


def is_done(success: bool | None, reward: float | None) -> bool:
    """Whether an episode's task was done: as the environment says, else by a reward above 0."""
    return success if success is not None else (reward or 0.0) > 0

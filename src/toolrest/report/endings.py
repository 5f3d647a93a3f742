"""Why an episode ended, in words."""

from __future__ import annotations

from toolrest.environments.base import Ending

ENDINGS: dict[str, str] = {
    Ending.ANSWERED: "answered, and nothing more was asked",
    Ending.DONE: "the environment said that it is over",
    Ending.BROKEN: "a call could not be read",
    Ending.CUT: "a turn was cut at rollout.max_response_tokens",
    Ending.TURNS: "cut at environment.max_turns",
    Ending.BUDGET: "cut at environment.max_trajectory_tokens",
    Ending.FAILED: "the environment failed",
}
"""Of each ending."""


def told_ending(ending: str, failure: str | None = None) -> str:
    """An ending in words, with what failed; one that is not known is told as it is."""
    words = ENDINGS.get(ending, ending)
    return words if failure is None else f"{words}: {failure}"

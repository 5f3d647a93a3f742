"""The protocol of an environment: what a policy acts on, over several turns."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from toolrest.core.dialects import ToolCall


class Ending(StrEnum):
    """Why a trajectory ended."""

    ANSWERED = "answered"
    """The policy answered without a call, and the environment asked for nothing more."""
    DONE = "done"
    """The environment said that the episode is over."""
    BROKEN = "broken"
    """A reply had calls that cannot be read."""
    CUT = "cut"
    """A turn had not ended at its most tokens."""
    TURNS = "turns"
    """The most turns were reached."""
    BUDGET = "budget"
    """The most tokens of a trajectory were reached."""
    FAILED = "failed"
    """The environment raised, hung, died or grew; the trajectory has no reward."""


@dataclass(frozen=True)
class Start:
    """What an episode begins with."""

    messages: tuple[dict[str, Any], ...]
    """Chat messages, the user's last."""
    tools: tuple[dict[str, Any], ...] = ()
    """What may be called, in OpenAI's form; empty where the messages list it."""


@dataclass(frozen=True)
class Step:
    """What came of the calls of one turn."""

    results: tuple[tuple[str, str], ...]
    """(tool's name, text) of each call, in the order of the calls."""
    reward: float = 0.0
    """Reward of the turn."""
    done: bool = False
    """Whether the episode is over."""
    errors: int = 0
    """How many of the calls failed, such as one of an unknown tool."""


@dataclass(frozen=True)
class Finish:
    """What the environment says when the policy has no call to make, or may make none."""

    reward: float = 0.0
    """Reward of the end; it counts for the last turn."""
    message: str | None = None
    """What the user says next, and the episode goes on; None: it is over."""
    success: bool | None = None
    """Whether the task was done; None: the environment does not say."""


class Environment(Protocol):
    """One episode after the other. Each method may be `async`.

    A subclass of the protocol or any class with these methods; `finish` and `close` may be left
    out. What is raised ends the episode as failed, which is no reward of 0 but none at all. A call
    that the policy got wrong is a result that says so, not an exception.

    A class that says `reusable = True` promises that `reset` forgets everything that was before:
    one process then plays many episodes, which saves a fork and an `__init__` for each.
    """

    def reset(self, row: Mapping[str, Any], seed: int) -> Start | Awaitable[Start]:
        """Begin an episode.

        Args:
            row: the row of the data set that it is about; {"index": i} where there is no data.
            seed: equal rows and seeds begin equal episodes.
        """
        ...

    def call(self, calls: Sequence[ToolCall]) -> Step | Awaitable[Step]:
        """Run the calls of one turn, in their order."""
        ...

    def finish(self, reply: str, ending: Ending) -> Finish | Awaitable[Finish]:
        """The policy makes no more calls.

        Args:
            reply: what it told the user in its last turn; empty: nothing.
            ending: `ANSWERED`, after which the user may go on; else why it cannot.
        """
        return Finish()

    def close(self) -> Awaitable[None] | None:
        """The process ends."""
        return None


class EnvironmentFailure(Exception):
    """An episode cannot go on; what failed, in one line."""


class NoRoom(EnvironmentFailure):
    """An episode cannot begin before another ends: a server takes only so many at once."""

    def __init__(self, what: str, room: int) -> None:
        super().__init__(what)
        self.room = room
        """How many there may be."""

"""One rollout of several turns: the policy calls, the environment answers, the policy goes on.

Ids in, ids out: a turn is sampled after all ids before it, and what was sampled is never decoded
and tokenised again. Whoever samples, here is what a turn does: what is run of it, what comes back,
why the rollout ends. `toolrest.rollout.player` plays many side by side, and verl's agent loop each
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.dialects import ParseStatus, Scan, ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, Step
from toolrest.rollout.asking import STATISTICS
from toolrest.rollout.seams import Seams

if TYPE_CHECKING:
    from toolrest.environments.episode import Episode


@dataclass(frozen=True)
class TurnLimits:
    """When a rollout ends at the latest."""

    turns: int = 8
    """Turns of the policy."""
    turn_tokens: int = 192
    """Sampled tokens of one turn."""
    tokens: int = 2048
    """Tokens after the prompt, sampled and read."""


@dataclass
class Turn:
    """One turn of the policy, and what came of it."""

    text: str
    """What it wrote, with what its prompt had begun."""
    calls: tuple[ToolCall, ...] = ()
    """The calls that were run."""
    results: tuple[tuple[str, str], ...] = ()
    """(tool's name, text) of each."""
    errors: int = 0
    """How many of the calls failed."""
    reward: float = 0.0
    """What the turn earned; the last one's has the reward of the end."""
    said: str | None = None
    """What the user said next."""


@dataclass
class Trajectory:
    """One rollout."""

    prompt_ids: list[int]
    """What it began with."""
    ids: list[int] = field(default_factory=list)
    """All that followed, T ids."""
    sampled: list[bool] = field(default_factory=list)
    """Which of them the policy sampled, [T]."""
    statistics: list[torch.Tensor] = field(default_factory=list)
    """Of each id as in `toolrest.rollout.asking.Sampled`, 0 where it was read; tensors
    whose lengths add up to T, or nothing."""
    turns: list[Turn] = field(default_factory=list)
    """The policy's turns."""
    ending: Ending | None = None
    """Why it ended; None: it goes on."""
    success: bool | None = None
    """Whether the task was done; None: the environment does not say."""
    failure: str | None = None
    """What failed, where the environment did."""

    @property
    def reward(self) -> float | None:
        """The sum of what its turns earned; None: the environment failed, and nothing is known."""
        return None if self.failure is not None else sum(turn.reward for turn in self.turns)

    def read(self, ids: Sequence[int]) -> None:
        """Add ids that the policy reads."""
        self.ids += ids
        self.sampled += [False] * len(ids)
        self.statistics.append(torch.zeros(len(ids), STATISTICS))

    def say(self, ids: Sequence[int], statistics: torch.Tensor) -> None:
        """Add ids that the policy sampled."""
        self.ids += ids
        self.sampled += [True] * len(ids)
        self.statistics.append(statistics)


@dataclass
class Playing:
    """A rollout that goes on. For each turn: sample at most `room` ids after `trajectory` and
    `seen`, give them to `begin` as soon as they are there and to `add` once, and `take` the
    environment's answer for as long as there is one.
    """

    trajectory: Trajectory
    """What there is of it."""
    episode: Episode
    """What answers it, after its `reset`."""
    seams: Seams
    """What stands between its turns."""
    limits: TurnLimits
    """When it ends."""
    tools: Any = None
    """Those that may be called, for dialects that read values by their types."""
    seen: list[int] = field(default_factory=list)
    """Ids to read before the next turn."""
    calls: int = 0
    """How many were made."""
    answer: Future[Any] | None = None
    """What the environment says to the turn; None: it was taken, and the next turn can begin."""

    def __post_init__(self) -> None:
        self.opening = self.seams.speech.opening(self.trajectory.prompt_ids)
        """What the prompt has written of the next turn."""

    @property
    def room(self) -> int:
        """The most tokens of the next turn."""
        left = self.limits.tokens - len(self.trajectory.ids) - len(self.seen)
        return min(self.limits.turn_tokens, left)

    def begin(self, ids: Sequence[int]) -> None:
        """Read a turn that has ended, and have the environment begin to answer it."""
        speech, trajectory = self.seams.speech, self.trajectory
        text = self.opening + speech.vocabulary.text(ids)
        scan = speech.dialect.read(text, self.tools)
        turn = Turn(text)
        trajectory.turns.append(turn)
        if not ids or ids[-1] not in speech.stop_ids:
            ending = Ending.CUT
            if len(trajectory.ids) + len(self.seen) + len(ids) >= self.limits.tokens:
                ending = Ending.BUDGET
            self._ends(ending, "")
        elif scan.calls and scan.calls_intact:
            turn.calls = scan.calls
            self.answer = self.episode.call(scan.calls)
        elif scan.calls or scan.status is ParseStatus.BAD_CALL:
            self._ends(Ending.BROKEN, _answer(scan, text))
        else:
            self.answer = self.episode.finish(_answer(scan, text), Ending.ANSWERED)

    def add(self, ids: Sequence[int], statistics: torch.Tensor | None = None) -> None:
        """Add a turn's ids to the trajectory, after those that were read before it.

        Args:
            statistics: see `Trajectory.statistics`, [len(ids), 3]; None: not known.
        """
        self.trajectory.read(self.seen)
        self.seen = []
        known = torch.zeros(len(ids), STATISTICS) if statistics is None else statistics
        self.trajectory.say(ids, known)

    def take(self) -> None:
        """Take the environment's answer, for which it is waited, and prepare the next turn or end
        the rollout; the environment may be asked once more, for the reward of the end.
        """
        try:
            self._take()
        except EnvironmentFailure as failure:
            self.fail(str(failure))

    def fail(self, why: str) -> None:
        """End the rollout, of which nothing is known then.

        Args:
            why: in one line.
        """
        self.trajectory.ending, self.trajectory.failure = Ending.FAILED, why

    def _take(self) -> None:
        trajectory, turn = self.trajectory, self.trajectory.turns[-1]
        assert self.answer is not None
        asked, self.answer = self.answer, None
        found = asked.result()
        if isinstance(found, Step):
            if len(found.results) != len(turn.calls):
                raise EnvironmentFailure(
                    f"the environment gave {len(found.results)} results for {len(turn.calls)} calls"
                )
            turn.results, turn.errors = found.results, found.errors
            turn.reward += found.reward
            if not found.done and len(trajectory.turns) < self.limits.turns:
                texts = [text for _, text in found.results]
                ids = self.seams.results(turn.calls, texts, self.calls)
                self.calls += len(turn.calls)
                if not self._goes_on(ids):
                    self._ends(Ending.BUDGET, "")
            else:
                self._ends(Ending.DONE if found.done else Ending.TURNS, "")
            return
        assert isinstance(found, Finish)
        turn.reward += found.reward
        trajectory.success = found.success
        if trajectory.ending is not None:
            return
        trajectory.ending = Ending.ANSWERED
        if found.message is None:
            return
        turn.said = found.message
        if len(trajectory.turns) >= self.limits.turns:
            trajectory.ending = Ending.TURNS
        elif self._goes_on(self.seams.user(found.message)):
            trajectory.ending = None
        else:
            trajectory.ending = Ending.BUDGET

    def _ends(self, ending: Ending, reply: str) -> None:
        """The rollout ends so; the environment begins to say what it earned."""
        self.trajectory.ending = ending
        self.answer = self.episode.finish(reply, ending)

    def _goes_on(self, ids: list[int]) -> bool:
        """Have the policy read ids before its next turn, if there is room for them and a token."""
        if len(self.trajectory.ids) + len(ids) >= self.limits.tokens:
            return False
        self.seen = ids
        self.opening = self.seams.speech.opening(ids)
        return True


def _answer(scan: Scan, text: str) -> str:
    """What a reply without calls tells the user: its response, or all of it where it has none."""
    return scan.response or text.strip()

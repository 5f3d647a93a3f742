"""Rollouts of several turns: the policy calls, the environment answers, the policy goes on.

Ids in, ids out: a turn is sampled after all ids before it, and what was sampled is never decoded
and tokenised again. While some rows still sample, the environments of those that have ended their
turn are at work already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.dialects import ParseStatus, Scan, ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, Step
from toolrest.rollout.asking import STATISTICS, Ask, TurnSampler
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
class _Row:
    """A rollout that goes on."""

    trajectory: Trajectory
    episode: Episode
    opening: str
    """What the prompt has written of the next turn."""
    seen: list[int] = field(default_factory=list)
    """Ids to read before the next turn."""
    calls: int = 0
    """How many were made."""
    answer: Future[Any] | None = None
    """What the environment says to the turn."""
    tools: Any = None
    """Those that may be called, for dialects that read values by their types."""


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
        speech = self.seams.speech
        trajectories = [Trajectory(list(ids)) for ids in prompts]
        rows: dict[int, _Row] = {}
        for at, (trajectory, episode) in enumerate(zip(trajectories, episodes, strict=True)):
            if isinstance(episode, str):
                trajectory.ending, trajectory.failure = Ending.FAILED, episode
                continue
            known = None if tools is None else tools[at]
            rows[at] = _Row(trajectory, episode, speech.opening(prompts[at]), tools=known)
        number = 0
        while rows:
            self._turn(rows, uniforms(number))
            number += 1
            for at, row in list(rows.items()):
                if row.trajectory.ending is not None:
                    row.episode.close()
                    del rows[at]
        return trajectories

    def _turn(self, rows: dict[int, _Row], uniforms: torch.Tensor | None) -> None:
        """One turn of every row that goes on."""
        limits = self.limits
        asked = []
        for at, row in rows.items():
            left = limits.tokens - len(row.trajectory.ids) - len(row.seen)
            asked.append(Ask(at, row.seen, min(limits.turn_tokens, left)))
        if uniforms is not None:
            uniforms = uniforms[list(rows)]

        def begin(ended: Sequence[int], turns: Sequence[list[int]]) -> None:
            for at, ids in zip(ended, turns, strict=True):
                self._begin(rows[at], ids)

        said = self.sampler.turn(asked, uniforms, begin)
        drawn = said.statistics
        for place, each in enumerate(asked):
            row, ids = rows[each.row], said.ids[place]
            row.trajectory.read(each.seen)
            known = len(drawn) > place and len(drawn[place]) == len(ids)
            row.trajectory.say(
                ids, drawn[place].cpu() if known else torch.zeros(len(ids), STATISTICS)
            )
        for row in rows.values():
            try:
                self._answered(row)
            except EnvironmentFailure as failure:
                row.trajectory.ending, row.trajectory.failure = Ending.FAILED, str(failure)

    def _begin(self, row: _Row, ids: Sequence[int]) -> None:
        """Read a turn that has ended, and have the environment begin to answer it."""
        speech, trajectory = self.seams.speech, row.trajectory
        text = row.opening + speech.vocabulary.text(ids)
        scan = speech.dialect.read(text, row.tools)
        turn = Turn(text)
        trajectory.turns.append(turn)
        if not ids or ids[-1] not in speech.stop_ids:
            ending = Ending.CUT
            if len(trajectory.ids) + len(row.seen) + len(ids) >= self.limits.tokens:
                ending = Ending.BUDGET
            row.answer = self._ends(row, ending, "")
        elif scan.calls and scan.calls_intact:
            turn.calls = scan.calls
            row.answer = row.episode.call(scan.calls)
        elif scan.calls or scan.status is ParseStatus.BAD_CALL:
            row.answer = self._ends(row, Ending.BROKEN, _answer(scan, text))
        else:
            row.answer = row.episode.finish(_answer(scan, text), Ending.ANSWERED)

    def _ends(self, row: _Row, ending: Ending, reply: str) -> Future[Finish]:
        """The rollout ends so; the environment begins to say what it earned."""
        row.trajectory.ending = ending
        return row.episode.finish(reply, ending)

    def _answered(self, row: _Row) -> None:
        """Take the environment's answer, and prepare the next turn or end the rollout."""
        trajectory, turn = row.trajectory, row.trajectory.turns[-1]
        assert row.answer is not None
        found = row.answer.result()
        row.answer = None
        if isinstance(found, Step):
            if len(found.results) != len(turn.calls):
                raise EnvironmentFailure(
                    f"the environment gave {len(found.results)} results for {len(turn.calls)} calls"
                )
            turn.results, turn.errors = found.results, found.errors
            turn.reward += found.reward
            if not found.done and len(trajectory.turns) < self.limits.turns:
                ids = self.seams.results(turn.calls, [text for _, text in found.results], row.calls)
                row.calls += len(turn.calls)
                if self._goes_on(row, ids):
                    return
                ending = Ending.BUDGET
            else:
                ending = Ending.DONE if found.done else Ending.TURNS
            found = self._ends(row, ending, "").result()
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
        elif self._goes_on(row, self.seams.user(found.message)):
            trajectory.ending = None
        else:
            trajectory.ending = Ending.BUDGET

    def _goes_on(self, row: _Row, ids: list[int]) -> bool:
        """Have the row read ids before its next turn, if there is room for them and a token."""
        if len(row.trajectory.ids) + len(ids) >= self.limits.tokens:
            return False
        row.seen = ids
        row.opening = self.seams.speech.opening(ids)
        return True


def _answer(scan: Scan, text: str) -> str:
    """What a reply without calls tells the user: its response, or all of it where it has none."""
    return scan.response or text.strip()

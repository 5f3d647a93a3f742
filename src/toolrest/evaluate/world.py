"""The embedded world's held-out tasks as episodes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from toolrest.core.dialects import get_dialect
from toolrest.data.sample import Sample
from toolrest.data.wording import Prompt
from toolrest.engines.common.reward import ToolReward
from toolrest.evaluate.episode import Answer, Episode, Outcome, read, status_of
from toolrest.world.sets import world_samples
from toolrest.world.tasks import Split
from toolrest.world.thought_tasks import Knobs

COUNT = 256
"""Tasks, where no limit says otherwise; those that a run of the default seed is evaluated on."""


def episodes(count: int, knobs: Knobs | None) -> list[Episode]:
    """The first `count` held-out tasks.

    Args:
        knobs: of the tasks whose thought decides; None: the single tasks.
    """
    reward = ToolReward("rlla", "constant")
    samples = world_samples(Split.HELDOUT, count, 0, knobs)
    return [WorldEpisode(sample, reward) for sample in samples]


def data_hash(knobs: Knobs | None) -> str:
    """A hash of the held-out tasks and their right answers."""
    rows = [(s.prompt, s.ground_truth) for s in world_samples(Split.HELDOUT, COUNT, 0, knobs)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


@dataclass
class WorldEpisode:
    """One task, one reply."""

    sample: Sample
    reward: ToolReward
    _answer: Answer | None = None

    @property
    def identity(self) -> str:
        return self.sample.identity

    @property
    def category(self) -> str:
        return "calls" if get_dialect("rlla").parse(self.sample.ground_truth).calls else "talk"

    def request(self) -> Prompt | None:
        return Prompt(list(self.sample.prompt)) if self._answer is None else None

    def receive(self, answer: Answer) -> None:
        self._answer = answer

    def outcome(self) -> Outcome:
        """See `Episode.outcome`. `correct` is the exact match."""
        assert self._answer is not None
        answer = self._answer
        score = self.reward.score(
            answer.text, self.sample.ground_truth, prompt=answer.opening or None
        )
        reply = read(answer, get_dialect("rlla"))
        check = "" if score.exact else "format" if score.format < 1 else "calls"
        return Outcome(
            identity=self.identity,
            category=self.category,
            correct=score.exact,
            check=check,
            expected=self.sample.ground_truth,
            got={"text": answer.text, "reward": asdict(score)},
            statuses=(status_of(answer, reply),),
            tokens=() if answer.tokens is None else (answer.tokens,),
            scores={"reward": score.total},
        )

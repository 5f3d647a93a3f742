"""The rewards as a callable of the shape that trainers take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from toolrest.dialects import Scan, get_dialect
from toolrest.errors import InputError
from toolrest.rewards.ast import normalise, read_possible_answer
from toolrest.rewards.correctness import PARTIAL, check_correctness
from toolrest.rewards.decisions import LockedIn, find_decisions, worth
from toolrest.rewards.schedule import get_schedule
from toolrest.rewards.score import RewardBreakdown, score_reply
from toolrest.rewards.values import equal
from toolrest.vocabulary import Vocabulary


class ToolReward:
    """Format and correctness of tool calls, as a TRL reward function.

    The data set needs a column `ground_truth`: a right reply, written in the dialect.

    Args:
        dialect: the dialect of the policy and of the ground truth.
        schedule: `rest`, `constant` or `official`; see `toolrest.rewards.schedule`.
        correctness: `partial` (the paper's), `exact`, `ast`, or a weight for each of several.
        punish_over_calls: see `score_reply`.
        normalise_strings: compare strings as BFCL does, without case and punctuation.
        lenient_types: let "5" equal 5.

    Raises:
        InputError: an unknown name, or weights that are none.
    """

    __name__ = "tool_reward"

    def __init__(
        self,
        dialect: str = "rlla",
        schedule: str = "rest",
        *,
        correctness: str | Mapping[str, float] = "partial",
        punish_over_calls: bool = True,
        normalise_strings: bool = False,
        lenient_types: bool = False,
    ) -> None:
        self.dialect = get_dialect(dialect)
        self.schedule = get_schedule(schedule)
        weights = {correctness: 1.0} if isinstance(correctness, str) else dict(correctness)
        check_correctness(weights)
        self.correctness = PARTIAL if weights == PARTIAL else weights
        self.punish_over_calls = punish_over_calls
        self._same: Callable[[Any, Any], bool] = equal
        if normalise_strings or lenient_types:
            normaliser = normalise if normalise_strings else None
            self._same = partial(equal, normalise=normaliser, lenient=lenient_types)
        self._possible = lru_cache(maxsize=65536)(read_possible_answer)
        self.vocabulary: Vocabulary | None = None
        self.breakdowns: list[RewardBreakdown] = []
        self._truth = lru_cache(maxsize=65536)(self.dialect.scan)

    def bind(self, vocabulary: Vocabulary) -> None:
        """From now on read replies from token ids as sampled, special tokens left out."""
        self.vocabulary = vocabulary

    def score(
        self,
        text: str,
        ground_truth: str,
        progress: float = 0.0,
        possible_answer: str | None = None,
    ) -> RewardBreakdown:
        """Score one reply's text.

        Args:
            possible_answer: for `ast`, BFCL's acceptable values; None: the ground truth's.
        """
        return score_reply(
            self.dialect.read(text),
            self.truth(ground_truth),
            self.schedule,
            progress=progress,
            punish_over_calls=self.punish_over_calls,
            weights=self.correctness,
            possible=None if possible_answer is None else self._possible(possible_answer),
            same=self._same,
        )

    def locked_in(self, response: bytes, ground_truth: str, progress: float) -> LockedIn:
        """Where the response decides a part of the reward, and what is locked in from there on.

        Args:
            response: the sampled tokens' bytes.
        """
        truth = self.truth(ground_truth).calls
        format_reward, nothing = self.schedule.rewards(1.0, 0.0 if truth else 1.0, progress)
        if not truth and not self.punish_over_calls:
            return LockedIn([], [], format_reward)
        least, most = (self.schedule.rewards(0.0, c, progress)[1] for c in (0.0, 1.0))
        share = self.correctness.get("partial", 0.0) / sum(self.correctness.values())
        decisions = find_decisions(response, self.dialect)
        return LockedIn(
            [decision.position for decision in decisions],
            worth(decisions, truth, share * (most - least)),
            format_reward + nothing,
        )

    def truth(self, ground_truth: str) -> Scan:
        """A ground truth, read once."""
        return self._truth(ground_truth)

    def __call__(
        self,
        completions: Sequence[Any],
        ground_truth: Sequence[str] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        possible_answer: Sequence[str | None] | None = None,
        trainer_state: Any = None,
        log_metric: Any = None,
        **columns: Any,
    ) -> list[float]:
        """One reward a completion. `breakdowns` holds the parts of the latest call.

        Raises:
            InputError: the data set has no `ground_truth` column.
        """
        if ground_truth is None:
            raise InputError(
                "the rewards need a data set column `ground_truth` with a right reply a row; "
                f"found {sorted(columns)}"
            )
        progress = 0.0
        if trainer_state is not None and trainer_state.max_steps > 0:
            progress = trainer_state.global_step / trainer_state.max_steps
        texts = self._texts(completions, completion_ids)
        possible_answers = possible_answer or [None] * len(texts)
        without_thought = self.dialect.without_thought
        scored: dict[tuple[str, str, str | None], RewardBreakdown] = {}
        self.breakdowns = []
        for text, truth, possible in zip(texts, ground_truth, possible_answers, strict=True):
            said = (without_thought(text), truth, possible)
            found = scored.get(said)
            if found is None:
                found = scored[said] = self.score(said[0], truth, progress, possible)
            self.breakdowns.append(found)
        if log_metric is not None:
            for name, values in reward_parts(self.breakdowns).items():
                log_metric(name, float(np.mean(values)))
        return [breakdown.total for breakdown in self.breakdowns]

    def _texts(
        self, completions: Sequence[Any], completion_ids: Sequence[Sequence[int]] | None
    ) -> list[str]:
        if self.vocabulary is not None and completion_ids is not None:
            return [self.vocabulary.text(ids) for ids in completion_ids]
        return [c if isinstance(c, str) else c[-1]["content"] for c in completions]


def reward_parts(breakdowns: Sequence[RewardBreakdown]) -> dict[str, list[float]]:
    """The parts of many rewards by metric name."""
    return {
        "reward/exact_match": [float(b.exact) for b in breakdowns],
        "reward/format": [b.format for b in breakdowns],
        "reward/correctness": [b.correctness for b in breakdowns],
        "reward/names": [b.calls.names for b in breakdowns],
        "reward/parameters": [b.calls.parameters for b in breakdowns],
        "reward/values": [b.calls.values for b in breakdowns],
        "reward/over_called": [float(b.over_called) for b in breakdowns],
    }

"""The rewards as a callable of the shape that trainers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from toolrest.dialects import Reply, get_dialect
from toolrest.errors import InputError
from toolrest.rewards.correctness import check_correctness
from toolrest.rewards.schedule import get_schedule
from toolrest.rewards.score import RewardBreakdown, score_reply
from toolrest.vocabulary import Vocabulary


class ToolReward:
    """Format and correctness of tool calls, as a TRL reward function.

    The data set needs a column `ground_truth`: a right reply, written in the dialect.

    Args:
        dialect: the dialect of the policy and of the ground truth.
        schedule: `rest`, `constant` or `official`; see `toolrest.rewards.schedule`.
        correctness: `partial` (the paper's), `exact`, or a weight for each of several.
        punish_over_calls: see `score_reply`.

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
    ) -> None:
        self.dialect = get_dialect(dialect)
        self.schedule = get_schedule(schedule)
        self.correctness = {correctness: 1.0} if isinstance(correctness, str) else dict(correctness)
        check_correctness(self.correctness)
        self.punish_over_calls = punish_over_calls
        self.vocabulary: Vocabulary | None = None
        self.breakdowns: list[RewardBreakdown] = []
        self._truth = lru_cache(maxsize=65536)(self.dialect.parse)

    def bind(self, vocabulary: Vocabulary) -> None:
        """From now on read replies from token ids as sampled, special tokens left out."""
        self.vocabulary = vocabulary

    def score(self, text: str, ground_truth: str, progress: float = 0.0) -> RewardBreakdown:
        """Score one reply's text."""
        return score_reply(
            self.dialect.parse(text),
            self.truth(ground_truth),
            self.schedule,
            progress=progress,
            punish_over_calls=self.punish_over_calls,
            weights=self.correctness,
        )

    def truth(self, ground_truth: str) -> Reply:
        """A ground truth, read once."""
        return self._truth(ground_truth)

    def __call__(
        self,
        completions: Sequence[Any],
        ground_truth: Sequence[str] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
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
        self.breakdowns = [
            self.score(text, truth, progress)
            for text, truth in zip(texts, ground_truth, strict=True)
        ]
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

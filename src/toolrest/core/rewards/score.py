"""The reward of one reply, part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolrest.core.dialects import Block, ParseStatus, Reply, Scan
from toolrest.core.rewards.ast import PossibleCall
from toolrest.core.rewards.correctness import PARTIAL, correctness
from toolrest.core.rewards.exact import exact
from toolrest.core.rewards.format import format_score
from toolrest.core.rewards.partial import CallScore, call_score
from toolrest.core.rewards.schedule import RewardSchedule
from toolrest.core.rewards.values import equal

_NOTHING = CallScore(0.0, 0.0, 0.0, 0.0)


@dataclass(slots=True)
class RewardBreakdown:
    """The reward of a reply and its parts. Not frozen, which would cost a fifth of the time;
    replies that say the same share one, so it is not to be changed.
    """

    total: float
    """The reward: `format_reward` + `correctness_reward`."""
    format_reward: float
    """The format score on the schedule's range."""
    correctness_reward: float
    """The correctness score on the schedule's range."""
    format: float
    """Format score, 0 or 1."""
    calls: CallScore
    """Correctness of the calls, part by part."""
    correctness: float
    """Correctness score in [0, 1], of the kinds that are rewarded."""
    exact: bool
    """The right blocks and exactly the right calls."""
    over_called: bool
    """Calls although the ground truth has none."""
    status: ParseStatus
    """How far the reply could be read."""


@dataclass(frozen=True)
class RewardRules:
    """How every reply of a run is scored."""

    schedule: RewardSchedule
    """The ranges of the two rewards."""
    correctness: Mapping[str, float] = field(default_factory=lambda: PARTIAL)
    """Weights of the kinds of correctness; see `toolrest.core.rewards.correctness`."""
    punish_over_calls: bool = True
    """Where the ground truth has no call, earn the greatest correctness by calling nothing and the
    least by calling. Off, as in the released code: such a ground truth gives a correctness reward
    of 0 whatever is called.
    """
    same: Callable[[Any, Any], bool] = equal
    """When a value is right; see `toolrest.core.rewards.values`."""


def both_rewards(
    format: float, correctness: float, truth: Reply | Scan, rules: RewardRules, progress: float
) -> tuple[float, float]:
    """(format, correctness) rewards of scores in [0, 1], on the schedule's ranges; correctness
    earns nothing where no call is due and calls are not punished.
    """
    format_reward, correctness_reward = rules.schedule.rewards(format, correctness, progress)
    if not truth.calls and not rules.punish_over_calls:
        correctness_reward = 0.0
    return format_reward, correctness_reward


def score_reply(
    reply: Reply | Scan,
    truth: Reply | Scan,
    rules: RewardRules,
    *,
    progress: float = 0.0,
    possible: Sequence[PossibleCall] | None = None,
) -> RewardBreakdown:
    """Score a reply against the ground truth (ResT, section 4).

    Args:
        reply: what the policy wrote.
        truth: the ground truth, read in the same dialect.
        rules: the run's.
        progress: step / max_steps, in [0, 1].
        possible: for the kind `ast`, what is acceptable for each call; None: the truth's values.
    """
    format = format_score(reply, truth)
    owed, called = bool(truth.calls), Block.CALLS in reply.blocks
    calls, right = _NOTHING, 0.0
    if reply.calls_intact and owed == called:
        calls = call_score(reply.calls, truth.calls, rules.same)
        right = correctness(calls, reply.calls, truth.calls, possible, rules.correctness)
    format_reward, correctness_reward = both_rewards(format, right, truth, rules, progress)
    return RewardBreakdown(
        total=format_reward + correctness_reward,
        format_reward=format_reward,
        correctness_reward=correctness_reward,
        format=format,
        calls=calls,
        correctness=right,
        exact=format == 1.0 and exact(calls) == 1.0,
        over_called=called and not owed,
        status=reply.status,
    )

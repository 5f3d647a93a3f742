"""The reward of one reply, part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolrest.dialects import Block, ParseStatus, Reply
from toolrest.rewards.correctness import PARTIAL, correctness
from toolrest.rewards.exact import exact
from toolrest.rewards.format import format_score
from toolrest.rewards.partial import CallScore, call_score
from toolrest.rewards.schedule import RewardSchedule

_NOTHING = CallScore(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class RewardBreakdown:
    """What a reply earned, and for what."""

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


def score_reply(
    reply: Reply,
    truth: Reply,
    schedule: RewardSchedule,
    *,
    progress: float = 0.0,
    punish_over_calls: bool = True,
    weights: Mapping[str, float] = PARTIAL,
) -> RewardBreakdown:
    """Score a reply against the ground truth (ResT, section 4).

    Args:
        reply: what the policy wrote.
        truth: the ground truth, read in the same dialect.
        schedule: the ranges of the two rewards.
        progress: step / max_steps, in [0, 1].
        punish_over_calls: where the ground truth has no call, earn the greatest correctness by
            calling nothing and the least by calling. Off, as in the released code: such a ground
            truth gives a correctness reward of 0 whatever is called.
    """
    format = format_score(reply, truth)
    calls = _calls(reply, truth)
    right = correctness(calls, weights)
    format_reward, correctness_reward = schedule.rewards(format, right, progress)
    if not truth.calls and not punish_over_calls:
        correctness_reward = 0.0
    return RewardBreakdown(
        total=format_reward + correctness_reward,
        format_reward=format_reward,
        correctness_reward=correctness_reward,
        format=format,
        calls=calls,
        correctness=right,
        exact=format == 1.0 and exact(calls) == 1.0,
        over_called=not truth.calls and Block.CALLS in reply.blocks,
        status=reply.status,
    )


def _calls(reply: Reply, truth: Reply) -> CallScore:
    """Calls that do not parse, or stand in no closed block, earn the least."""
    owed = bool(truth.calls)
    called = Block.CALLS in reply.blocks
    if not reply.calls_intact or owed != called:
        return _NOTHING
    return call_score(reply.calls, truth.calls)

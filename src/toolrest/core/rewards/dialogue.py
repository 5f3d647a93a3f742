"""The reward of a whole rollout against a decomposed dialogue, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolrest.core.dialects import Block, ParseStatus, Scan
from toolrest.core.rewards.partial import CallScore
from toolrest.core.rewards.score import (
    RewardBreakdown,
    RewardRules,
    both_rewards,
    score_reply,
)

_NOTHING = CallScore(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class DialogueScore:
    """The reward of a rollout of several turns."""

    breakdown: RewardBreakdown
    """Its parts: means over the dialogue's steps, what needless turns cost taken off the
    correctness reward. `exact`: every step was made right, and no turn is needless. `over_called`:
    a turn called where no call was due. `status`: the first that is not whole, else the last."""
    turns: tuple[float, ...]
    """What each turn earned, [T]; together the whole reward but for steps that were not made."""
    steps: tuple[int | None, ...]
    """The step of the dialogue that each turn made, [T]; None: it was needless."""
    missed: int
    """Steps that no turn made."""


def score_dialogue(
    turns: Sequence[Scan],
    truths: Sequence[Scan],
    rules: RewardRules,
    *,
    progress: float = 0.0,
    needless_turn: float = 0.0,
) -> DialogueScore:
    """Score what the policy wrote against the right replies of a decomposed dialogue.

    Turns make the dialogue's steps in their order, so that they earn the most; of ways that earn
    alike, the one whose steps are made first. A step that no turn made earns the least reward of
    a reply; a turn that makes none costs `needless_turn`. All steps count alike: the whole is on
    the scale of a single reply, whatever the dialogue's length.

    Args:
        turns: what the policy wrote, turn by turn, [T]; tools' texts are none of it.
        truths: a right reply for each step, [K], at least one.
        rules: how each turn is scored.
        progress: step / max_steps, in [0, 1].
        needless_turn: at least 0, on the scale of a single reply's reward.

    Raises:
        ValueError: there are no truths, or needless turns would be rewarded.
    """
    if not truths or needless_turn < 0:
        raise ValueError("a dialogue has steps, and a needless turn costs at least 0")
    scores = [
        [score_reply(turn, truth, rules, progress=progress) for turn in turns] for truth in truths
    ]
    steps = _matched([[score.total for score in row] for row in scores])
    made = {step: scores[step][at] for at, step in enumerate(steps) if step is not None}
    each = [made.get(k) or _missed(truth, rules, progress) for k, truth in enumerate(truths)]
    extra = steps.count(None)
    count, cost = len(truths), needless_turn * extra
    calls = CallScore(
        *(sum(getattr(score.calls, part) for score in each) / count for part in _PARTS)
    )
    format_reward = sum(score.format_reward for score in each) / count
    correctness_reward = sum(score.correctness_reward for score in each) / count - cost
    broken = (turn.status for turn in turns if turn.status is not ParseStatus.OK)
    breakdown = RewardBreakdown(
        total=format_reward + correctness_reward,
        format_reward=format_reward,
        correctness_reward=correctness_reward,
        format=sum(score.format for score in each) / count,
        calls=calls,
        correctness=sum(score.correctness for score in each) / count,
        exact=not extra and all(score.exact for score in each),
        over_called=_over_called(turns, steps, made),
        status=next(broken, turns[-1].status if turns else ParseStatus.EMPTY),
    )
    earned = tuple(-needless_turn if step is None else made[step].total / count for step in steps)
    return DialogueScore(breakdown, earned, tuple(steps), count - len(made))


_PARTS = ("names", "parameters", "values", "total")


def _over_called(
    turns: Sequence[Scan], steps: Sequence[int | None], made: dict[int, RewardBreakdown]
) -> bool:
    """Whether a turn called where no call was due, the needless ones included."""
    needless = (turn for turn, step in zip(turns, steps, strict=True) if step is None)
    called = any(Block.CALLS in turn.blocks for turn in needless)
    return called or any(score.over_called for score in made.values())


def _matched(rewards: Sequence[Sequence[float]]) -> list[int | None]:
    """Which step each turn makes, [T]: as many as there can be, in order, of the greatest sum.

    Args:
        rewards: of each step by each turn, [K][T].
    """
    steps, turns = len(rewards), len(rewards[0])
    # best[k][t]: (pairs made, their sum) of the steps from k and the turns from t on
    best = [[(0, 0.0)] * (turns + 1) for _ in range(steps + 1)]
    for k in reversed(range(steps)):
        for t in reversed(range(turns)):
            made, total = best[k + 1][t + 1]
            with_it = (made + 1, total + rewards[k][t])
            best[k][t] = max(with_it, best[k + 1][t], best[k][t + 1])
    found: list[int | None] = [None] * turns
    k = t = 0
    while k < steps and t < turns:
        made, total = best[k + 1][t + 1]
        if best[k][t] == (made + 1, total + rewards[k][t]):
            found[t] = k
            k, t = k + 1, t + 1
        elif best[k][t] == best[k + 1][t]:
            k += 1
        else:
            t += 1
    return found


def _missed(truth: Scan, rules: RewardRules, progress: float) -> RewardBreakdown:
    """The least that a reply to a truth can earn."""
    format_reward, correctness_reward = both_rewards(0.0, 0.0, truth, rules, progress)
    return RewardBreakdown(
        total=format_reward + correctness_reward,
        format_reward=format_reward,
        correctness_reward=correctness_reward,
        format=0.0,
        calls=_NOTHING,
        correctness=0.0,
        exact=False,
        over_called=False,
        status=ParseStatus.EMPTY,
    )

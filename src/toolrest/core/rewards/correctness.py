"""Correctness of the calls in [0, 1]: a weighted mean of several measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps

from toolrest.core.dialects import ToolCall
from toolrest.core.registry import add_named
from toolrest.core.rewards.ast import PossibleCall, ast_score, possible_calls
from toolrest.core.rewards.exact import exact
from toolrest.core.rewards.partial import CallScore
from toolrest.errors import InputError, check_name

Calls = Sequence[ToolCall]
Possible = Sequence[PossibleCall] | None


def _ast(partial: CallScore, calls: Calls, truth: Calls, possible: Possible) -> float:
    return ast_score(calls, possible_calls(truth) if possible is None else possible)


_KINDS: dict[str, Callable[[CallScore, Calls, Calls, Possible], float]] = {
    "partial": lambda partial, calls, truth, possible: partial.total,
    "exact": lambda partial, calls, truth, possible: exact(partial),
    "ast": _ast,
}

PARTIAL: Mapping[str, float] = {"partial": 1.0}
"""The paper's correctness."""


def register_reward(name: str, score: Callable[[Calls, Calls], float]) -> None:
    """Make a kind of correctness of your own known to `ToolReward`, and to recipes as a key of
    `reward.correctness`.

    Args:
        name: what recipes call it.
        score: of a reply's calls and of those that are due, a number in [0, 1]. It is asked where
            all calls could be read, and both have some or both have none.

    Raises:
        InputError: another kind has that name.
    """

    @wraps(score)
    def kind(partial: CallScore, calls: Calls, truth: Calls, possible: Possible) -> float:
        return score(calls, truth)

    add_named(_KINDS, "reward", name, kind)


def correctness_kinds() -> tuple[str, ...]:
    """The names of the measures of correctness."""
    return tuple(_KINDS)


def check_correctness(weights: Mapping[str, float]) -> None:
    """Check the weights of measures.

    Raises:
        InputError: an unknown kind, a negative weight, or no positive one.
    """
    for kind, weight in weights.items():
        check_name("reward", kind, _KINDS)
        if not weight >= 0:
            raise InputError(f"the reward {kind} has weight {weight}; it must be 0 or more")
    if not sum(weights.values()) > 0:
        raise InputError("the rewards' weights sum to 0; give one of them a positive weight")


def parse_weights(written: Sequence[str]) -> dict[str, float]:
    """Weights from `kind` or `kind=weight`, as a command line gives them.

    Raises:
        InputError: a weight that is no number, or what `check_correctness` refuses.
    """
    weights: dict[str, float] = {}
    for part in written:
        kind, _, weight = part.partition("=")
        try:
            weights[kind] = float(weight or 1.0)
        except ValueError:
            raise InputError(f"reward {part}: {weight!r} is no number") from None
    check_correctness(weights)
    return weights


def correctness(
    partial: CallScore,
    calls: Calls,
    truth: Calls,
    possible: Possible,
    weights: Mapping[str, float],
) -> float:
    """The weighted mean, in [0, 1], of the kinds' scores.

    Args:
        partial: the paper's score of the calls.
        calls: the reply's, all of which could be read.
        truth: those that are due.
        possible: what is acceptable for each of them; None: their values alone.
        weights: by kind, as checked.
    """
    if weights is PARTIAL:
        return partial.total
    score = total = 0.0
    for kind, weight in weights.items():
        score += weight * _KINDS[kind](partial, calls, truth, possible)
        total += weight
    return score / total

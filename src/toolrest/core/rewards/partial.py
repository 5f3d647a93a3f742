"""Partial correctness of calls: S_acc of ResT and ToolRL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolrest.core.dialects import ToolCall
from toolrest.core.rewards.values import equal


@dataclass(slots=True)
class CallScore:
    """How well the predicted calls match the true ones; each part in [0, 1]. Not to be changed:
    breakdowns share it.
    """

    names: float
    """Jaccard index of the multisets of tool names."""
    parameters: float
    """Matched pairs' Jaccard indices of parameter names, over the number of true calls."""
    values: float
    """Matched pairs' equal values, over the number of true parameters."""
    total: float
    """S_acc = (r_name + r_para + r_value) / (1 + |G| + sum_i |params(G_i)|)."""


_EXACT = CallScore(1.0, 1.0, 1.0, 1.0)


Same = Callable[[Any, Any], bool]


def call_score(
    predicted: Sequence[ToolCall], true: Sequence[ToolCall], same: Same = equal
) -> CallScore:
    """Score predicted calls against the true ones (ResT, section 4).

    Pairs have equal names and are matched one to one so that the sum of their scores is greatest.
    Calls where none is due score 0, no calls where none is due score 1.

    Args:
        same: when a value is right.
    """
    if not true:
        return _EXACT if not predicted else CallScore(0.0, 0.0, 0.0, 0.0)
    if len(predicted) == len(true) == 1:
        return _one_call(predicted[0], true[0], same)
    wanted = [call.name for call in true]
    if wanted == [call.name for call in predicted] and len(set(wanted)) == len(wanted):
        names = 1.0
        pairs = [_pair(p, t, same) for p, t in zip(predicted, true, strict=True)]
        keys = sum([pair[0] for pair in pairs])
        values = sum([pair[1] for pair in pairs])
    else:
        names, keys, values = _matched_by_name(predicted, true, same)
    parameter_count = sum([len(call.parameters) for call in true])
    return CallScore(
        names=names,
        parameters=keys / len(true),
        values=values / parameter_count if parameter_count else 1.0,
        total=(names + keys + values) / (1 + len(true) + parameter_count),
    )


def _one_call(predicted: ToolCall, true: ToolCall, same: Same) -> CallScore:
    """`call_score` for one call against one, the most frequent case."""
    if predicted.name != true.name:
        return CallScore(0.0, 0.0, 0.0 if true.parameters else 1.0, 0.0)
    keys, values = _pair(predicted, true, same)
    count = len(true.parameters)
    right = values / count if count else 1.0
    return CallScore(1.0, keys, right, (1 + keys + values) / (2 + count))


def _matched_by_name(
    predicted: Sequence[ToolCall], true: Sequence[ToolCall], same: Same
) -> tuple[float, float, int]:
    """Jaccard index of the names, and sums over the best matching of the calls of each name."""
    by_name: dict[str, tuple[list[ToolCall], list[ToolCall]]] = defaultdict(lambda: ([], []))
    for side, calls in enumerate((predicted, true)):
        for call in calls:
            by_name[call.name][side].append(call)
    keys, values, shared, union = 0.0, 0, 0, 0
    for mine, theirs in by_name.values():
        shared += min(len(mine), len(theirs))
        union += max(len(mine), len(theirs))
        more_keys, more_values = _best_matching(mine, theirs, same)
        keys += more_keys
        values += more_values
    return shared / union, keys, values


def _pair(predicted: ToolCall, true: ToolCall, same: Same) -> tuple[float, int]:
    """(Jaccard of parameter names, number of equal values) of one pair."""
    mine, theirs = predicted.parameters, true.parameters
    shared = [key for key in theirs if key in mine]
    union = len(mine) + len(theirs) - len(shared)
    values = sum([same(mine[key], theirs[key]) for key in shared])
    return len(shared) / union if union else 1.0, values


def _best_matching(
    predicted: list[ToolCall], true: list[ToolCall], same: Same
) -> tuple[float, int]:
    """Sums over the one-to-one matching with the greatest total."""
    if not predicted or not true:
        return 0.0, 0
    if len(predicted) == len(true) == 1:
        return _pair(predicted[0], true[0], same)
    if len(predicted) == len(true):
        in_order = [_pair(p, t, same) for p, t in zip(predicted, true, strict=True)]
        most = sum([len(t.parameters) for t in true])
        if sum([keys + values for keys, values in in_order]) == len(true) + most:
            return float(len(true)), most
    from scipy.optimize import linear_sum_assignment

    pairs = np.array([[_pair(p, t, same) for t in true] for p in predicted])
    rows, columns = linear_sum_assignment(pairs.sum(axis=2), maximize=True)
    keys, values = pairs[rows, columns].sum(axis=0)
    return float(keys), int(values)

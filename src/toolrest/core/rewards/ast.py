"""Correctness in the manner of BFCL's AST check: acceptable values, optional parameters.

Differences from BFCL: types come from the acceptable values, not from a function's schema, and a
call is judged whatever its language.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolrest.core.dialects import ToolCall
from toolrest.core.rewards.values import equal
from toolrest.errors import InputError

OPTIONAL = ""
"""Among the acceptable values: the parameter may be left out."""
_SET_ASIDE = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True)
class PossibleCall:
    """A right call, with the acceptable values of each parameter."""

    name: str
    """The tool's name."""
    parameters: dict[str, list[Any]]
    """Acceptable values by parameter name; OPTIONAL among them: may be left out."""


def read_possible_answer(text: str) -> tuple[PossibleCall, ...]:
    """BFCL's possible answers: a JSON list of `{name: {parameter: [value, ..]}}`.

    Raises:
        InputError: it is not one.
    """
    try:
        rows = json.loads(text)
        return tuple(_possible_call(row) for row in rows)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            "a possible answer is a JSON list of {name: {parameter: [acceptable values]}}; "
            f"got {text[:200]!r}"
        ) from error


def _possible_call(row: Any) -> PossibleCall:
    if not isinstance(row, dict) or len(row) != 1:
        raise TypeError("a call is {name: parameters}")
    name, parameters = next(iter(row.items()))
    if not isinstance(parameters, dict):
        raise TypeError("parameters are {name: acceptable values}")
    if not all(isinstance(values, list) for values in parameters.values()):
        raise TypeError("acceptable values are a list")
    return PossibleCall(name, parameters)


def possible_calls(calls: Sequence[ToolCall]) -> tuple[PossibleCall, ...]:
    """Plain calls, each value the only acceptable one."""
    return tuple(PossibleCall(c.name, {k: [v] for k, v in c.parameters.items()}) for c in calls)


def ast_score(predicted: Sequence[ToolCall], possible: Sequence[PossibleCall]) -> float:
    """1 if the calls, in any order, are one to one the possible ones, else 0.

    Args:
        predicted: the calls of a reply.
        possible: what is acceptable for each.
    """
    if len(predicted) != len(possible):
        return 0.0
    if len(predicted) == 1:
        return float(accepts(possible[0], predicted[0]))
    if not predicted:
        return 1.0
    from scipy.optimize import linear_sum_assignment

    fits = np.array([[accepts(p, call) for p in possible] for call in predicted])
    rows, columns = linear_sum_assignment(fits, maximize=True)
    return float(fits[rows, columns].all())


def accepts(possible: PossibleCall, call: ToolCall) -> bool:
    """Whether a call has the right name, acceptable values, and all required parameters."""
    return call.name == possible.name and _fits(call.parameters, possible.parameters)


def _fits(found: dict[str, Any], acceptable: dict[str, list[Any]]) -> bool:
    if not found.keys() <= acceptable.keys():
        return False
    return all(
        any(_same(found[key], value) for value in values)
        if key in found
        else any(value == OPTIONAL and isinstance(value, str) for value in values)
        for key, values in acceptable.items()
    )


def _same(found: Any, value: Any) -> bool:
    """Equal by type; strings without case and punctuation, lists in order, dictionaries by their
    acceptable values.
    """
    if isinstance(found, str) and isinstance(value, str):
        return normalise(found) == normalise(value)
    if isinstance(found, list) and isinstance(value, list):
        return len(found) == len(value) and all(map(_same, found, value))
    if isinstance(found, dict) and isinstance(value, dict):
        return _fits(found, {k: v if isinstance(v, list) else [v] for k, v in value.items()})
    return equal(found, value)


def normalise(text: str) -> str:
    """As BFCL compares strings: lower case, without spaces and ,./-_*^, one kind of quotes."""
    return _SET_ASIDE.sub("", text).lower().replace("'", '"')

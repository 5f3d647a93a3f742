"""Equality of JSON values."""

from collections.abc import Callable
from typing import Any


def equal(
    left: Any,
    right: Any,
    *,
    normalise: Callable[[str], str] | None = None,
    lenient: bool = False,
) -> bool:
    """Whether two JSON values are equal. True is not 1; 1 is 1.0; "5" is not 5; lists have order.

    Works with an explicit stack: values nest as deep as a model likes.

    Args:
        normalise: both strings go through it before they are compared; None: as they are.
        lenient: a string equals the number, boolean or null that it spells.
    """
    if type(left) is type(right) is str and normalise is None:
        return left == right
    pairs = [(left, right)]
    while pairs:
        a, b = pairs.pop()
        if lenient and isinstance(a, str) is not isinstance(b, str):
            a, b = _spelled(a), _spelled(b)
        if isinstance(a, bool) or isinstance(b, bool):
            if a is not b:
                return False
        elif isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            pairs.extend((a[key], b[key]) for key in a)
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif normalise is not None and isinstance(a, str) and isinstance(b, str):
            if normalise(a) != normalise(b):
                return False
        elif isinstance(a, dict | list) or isinstance(b, dict | list) or a != b:
            return False
    return True


_WORDS = {"true": True, "false": False, "null": None, "none": None}


def _spelled(value: Any) -> Any:
    """What a string spells; anything else as it is."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return value

"""When two JSON values are the same."""

from typing import Any


def equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal. True is not 1; 1 is 1.0; "5" is not 5; lists have order.

    Works with an explicit stack: values nest as deep as a model likes.
    """
    pairs = [(left, right)]
    while pairs:
        a, b = pairs.pop()
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
        elif isinstance(a, dict | list) or isinstance(b, dict | list) or a != b:
            return False
    return True

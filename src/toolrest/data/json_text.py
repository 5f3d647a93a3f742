"""Values that were JSON texts, told from those that Arrow has kept as structs."""

from __future__ import annotations

import json
from typing import Any


class Written(dict[str, Any]):
    """An object from a JSON text: every null in it was written by someone."""


def from_json(text: str) -> Any:
    """The value of a JSON text, its objects `Written`.

    Raises:
        ValueError, RecursionError: the text is no JSON.
    """
    return json.loads(text, object_hook=Written)


def written(value: Any) -> Any:
    """The value, its objects `Written`."""
    if isinstance(value, dict):
        return Written({key: written(each) for key, each in value.items()})
    return [written(each) for each in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """The value, its objects Python's own dictionaries."""
    if isinstance(value, dict):
        return {
            key: plain(each) if isinstance(each, dict | list) else each
            for key, each in value.items()
        }
    return [plain(each) for each in value] if isinstance(value, list) else value

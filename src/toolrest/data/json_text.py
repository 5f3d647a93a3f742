"""Marks values that were parsed from JSON texts, to tell them from Arrow's structs."""

from __future__ import annotations

import json
from typing import Any


class Written(dict[str, Any]):
    """An object from a JSON text: its nulls are meant, and not added by Arrow."""


def from_json(text: str) -> Any:
    """Parse a JSON text, with its objects as `Written`.

    Raises:
        ValueError, RecursionError: the text is no JSON.
    """
    return json.loads(text, object_hook=Written)


def parsed(value: Any) -> Any:
    """The value of a JSON text; a text that is none, and anything else, as it is."""
    try:
        return from_json(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def written(value: Any) -> Any:
    """The value with its objects as `Written`."""
    if isinstance(value, dict):
        return Written({key: written(each) for key, each in value.items()})
    return [written(each) for each in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """The value with its objects as plain dictionaries."""
    if isinstance(value, dict):
        return {
            key: plain(each) if isinstance(each, dict | list) else each
            for key, each in value.items()
        }
    return [plain(each) for each in value] if isinstance(value, list) else value

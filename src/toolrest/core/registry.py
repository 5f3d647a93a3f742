"""Tables of what is known by a name: schemes, dialects, rewards."""

from __future__ import annotations

import re
from typing import Any

from toolrest.errors import InputError, short

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""Neither `*`, which makes products of schemes, nor `=`, which weighs rewards."""


def add_named(known: dict[str, Any], kind: str, name: str, item: object) -> None:
    """Put an item into a table; one that is defined at the same place replaces the earlier.

    Args:
        known: the table, which is changed.
        kind: what the error calls it.
        name: what recipes call the item.
        item: a class, a function, or an object, which stands for its class.

    Raises:
        InputError: another item has that name, or it has other characters than names have.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{kind} {short(name)}: a name has letters, digits and `_-.` alone")
    before = known.get(name)
    if before is not None and _home(before) != _home(item):
        raise InputError(f"there is a {kind} {name} already: {'.'.join(_home(before))}")
    known[name] = item


def _home(item: object) -> tuple[str, str]:
    """Where it is defined, so that a notebook's cell can be run twice."""
    defined = item if hasattr(item, "__qualname__") else type(item)
    return defined.__module__, getattr(defined, "__qualname__", "")

"""Untrusted paths and JSON: any defect raises one of the documented errors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from toolrest.errors import InputError, short

_GREATEST = 1 << 62
"""The greatest integer that fits an array."""


def user_path(text: str, what: str) -> Path:
    """A path from a user, recipe or file with `~` expanded; it need not exist.

    Args:
        what: begins errors, such as `policy=NAME`; it is cut where it is long.

    Raises:
        InputError: there can be nothing: a name is too long or of no user, or the way is barred.
    """
    try:
        path = Path(text).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        shown = what if len(what) <= len(short(what)) else short(what)[1:]
        raise InputError(f"{shown}: there is no such file or folder ({why})") from error
    return path


def parse_json(text: str | bytes) -> Any:
    """Parse an untrusted JSON text.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse an untrusted JSON text that must hold an object.

    Raises:
        ValueError: it is no JSON, nested too deeply, or no object.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}, not an object")
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number (no bool) that fits an array."""
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < _GREATEST)


def require_numbers(values: Mapping[str, Any], *names: str) -> None:
    """Check that an object has finite numbers under these names.

    Raises:
        ValueError: naming the first that is missing or another kind of value.
    """
    for name in names:
        value = values.get(name)
        if not is_number(value) or not math.isfinite(value):
            found = short(value) if name in values else "missing"
            raise ValueError(f"{name} should be a number, is {found}")

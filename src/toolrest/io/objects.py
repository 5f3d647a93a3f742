"""Untrusted JSON files that must hold an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolrest.errors import InputError, reason
from toolrest.io.files import MOST_JSON, read_text
from toolrest.io.foreign import parse_object


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        OSError: see `read_whole`.
        ValueError: it is no JSON, nested too deeply, or no object.
    """
    return parse_object(read_text(path, most=MOST_JSON))


def object_or_none(path: Path) -> dict[str, Any] | None:
    """The object of a JSON file; None where it cannot be read."""
    try:
        return read_object(path)
    except (OSError, ValueError):
        return None


def given_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file of the user's.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({reason(error)}); copy the file once more"
        ) from error

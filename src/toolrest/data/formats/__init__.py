"""Formats of data sets: a row -> a record. One file each; a format is seen from a row's keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toolrest.data.formats import apibank, bfcl, messages, rlla, toolace, xlam
from toolrest.data.record import Record
from toolrest.errors import InputError
from toolrest.naming import unknown_name


@dataclass(frozen=True)
class Format:
    """How the rows of a source are read."""

    name: str
    """As recipes call it."""
    keys: frozenset[str]
    """Rows with these keys are of it."""
    read: Callable[[dict[str, Any]], Record]
    """Reads a row; raises `BadRow`."""


_FORMATS = {
    made.name: made
    for made in (
        Format("rlla", rlla.KEYS, rlla.read),
        Format("rlla_json", rlla.JSON_KEYS, rlla.read_json),
        Format("apibank", apibank.KEYS, apibank.read),
        Format("toolace", toolace.KEYS, toolace.read),
        Format("xlam", xlam.KEYS, xlam.read),
        Format("bfcl", bfcl.KEYS, bfcl.read),
        Format("messages", messages.KEYS, messages.read),
    )
}


def format_names() -> tuple[str, ...]:
    """The names that `get_format` knows."""
    return tuple(_FORMATS)


def get_format(name: str) -> Format:
    """The format of that name.

    Raises:
        InputError: there is none.
    """
    if name not in _FORMATS:
        raise InputError(unknown_name("format", name, _FORMATS))
    return _FORMATS[name]


def detect_format(row: dict[str, Any]) -> Format | None:
    """The first format all of whose keys the row has."""
    return next((f for f in _FORMATS.values() if f.keys <= row.keys()), None)


__all__ = ["Format", "detect_format", "format_names", "get_format"]

"""Data formats: row -> record. One file each; a row's keys tell its format."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toolrest.data.formats import apibank, bfcl, messages, prompt, rlla, sharegpt, toolace, xlam
from toolrest.data.formats.json_fields import SCHEMAS
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.errors import look_up, short

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Format:
    """A data format."""

    name: str
    """As recipes call it."""
    keys: frozenset[str]
    """Rows with these keys are of it."""
    reader: Callable[..., Record]
    """Reads a row, and the recipe's dialect where `in_dialect`; raises `BadRow`."""
    also: frozenset[str] = _NONE
    """More keys that it reads."""
    in_dialect: bool = False
    """Whether its replies are in the recipe's dialect."""
    is_one: Callable[[dict[str, Any]], bool] = lambda row: True
    """Whether a row with its keys is of it, by its values."""

    def read(self, row: dict[str, Any], dialect: str = "rlla") -> Record:
        """Parse a row.

        Args:
            dialect: the recipe's.

        Raises:
            BadRow: it cannot be read.
        """
        return self.reader(row, dialect) if self.in_dialect else self.reader(row)


_FORMATS = {
    made.name: made
    for made in (
        Format("rlla", rlla.KEYS, rlla.read),
        Format("rlla_json", rlla.JSON_KEYS, rlla.read_json),
        Format("apibank", apibank.KEYS, apibank.read),
        Format("xlam", xlam.KEYS, xlam.read),
        Format("bfcl", bfcl.KEYS, bfcl.read, frozenset(("ground_truth",))),
        Format("prompt", prompt.KEYS, prompt.read, prompt.ALSO, in_dialect=True),
        Format("messages", messages.KEYS, messages.read, messages.ALSO),
        Format("toolace", toolace.KEYS, toolace.read, is_one=toolace.is_one),
        Format("sharegpt", sharegpt.KEYS, sharegpt.read, sharegpt.ALSO),
    )
}
_CONTEXT = frozenset(("tools", "functions", "system", "chat_template_kwargs"))
"""Keys with content that the policy has to see."""
_SAID = frozenset().union(
    *(each.keys | each.also for each in _FORMATS.values()),
    *(("completion", "chosen", "rejected", "response", "history", "conversation"),),
    *(("images", "videos", "audios"),),
)
"""Keys with dialogue or ground truth, in formats of ours or of other libraries."""
_TELLING = _SAID | _CONTEXT


def format_names() -> tuple[str, ...]:
    """The names that `get_format` knows."""
    return tuple(_FORMATS)


def get_format(name: str) -> Format:
    """Return the format with this name.

    Raises:
        InputError: there is none.
    """
    return look_up("format", name, _FORMATS)


def detect_format(row: dict[str, Any]) -> Format | None:
    """Detect a row's format by its keys, or by its values where two formats share keys.

    Returns:
        None where the row has the keys of no format.

    Raises:
        BadRow: the only formats whose keys it has would leave out something that matters.
    """
    here = {key for key, value in row.items() if value is not None}
    able = [each for each in _FORMATS.values() if each.keys <= here]
    able = able or [each for each in _FORMATS.values() if each.keys <= row.keys()]
    if not able:
        return None
    telling = _telling(row)
    fitting = [each for each in able if telling <= each.keys | each.also]
    if not fitting:
        best = min(able, key=lambda each: len(telling - each.keys - each.also))
        left = ", ".join(map(short, sorted(telling - best.keys - best.also)))
        raise BadRow(
            f"{left} would be ignored in the format {best.name}; take the key out, or name the "
            f"format ({best.name}) in data.sources"
        )
    return next((each for each in fitting if each.is_one(row)), fitting[-1])


def check_named(row: dict[str, Any], named: Format) -> None:
    """Check that a format chosen by name ignores nothing that the policy has to see.

    Raises:
        BadRow: it does.
    """
    left = (_telling(row) & _CONTEXT) - named.keys - named.also
    if left:
        names = ", ".join(map(short, sorted(left)))
        raise BadRow(f"{names} would be ignored in the format {named.name}; take the key out")


def _telling(row: dict[str, Any]) -> frozenset[str]:
    """The keys of a row that hold what was said, is right, or has to be seen."""
    return frozenset(
        key for key, value in row.items() if (value or value == 0) and _tells(key, value)
    )


def _tells(key: str, value: Any) -> bool:
    if key in _TELLING:
        return True
    # some data sets have their tools under another name, such as tools_json or apis
    name = key.lower()
    named = "tools" in name or "functions" in name
    return (named and isinstance(value, str | list | dict)) or _lists_tools(value)


def _lists_tools(value: Any) -> bool:
    """Whether a value is a list of tools, or its JSON text, whatever it is called."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return False
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, list) and bool(value) and all(map(_is_tool, value))


def _is_tool(value: Any) -> bool:
    inner = value.get("function") if isinstance(value, dict) else None
    tool = inner if isinstance(inner, dict) else value
    return (
        isinstance(tool, dict)
        and isinstance(tool.get("name"), str)
        and any(isinstance(tool.get(key), dict) for key in SCHEMAS)
    )


__all__ = ["Format", "check_named", "detect_format", "format_names", "get_format"]

"""Reads what may be missing or broken in a run's files, and names it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrest.io.files import iterate_lines
from toolrest.io.objects import object_or_none
from toolrest.report.shading import visible

MOST_CHARACTERS = 20_000
"""Longest prompt, ground truth, or response without recorded tokens."""


def object_or_missing(path: Path, missing: list[str], what: str) -> dict[str, Any] | None:
    """The JSON object of a file; None, with `what` added to `missing`, where there is none."""
    found = object_or_none(path)
    if found is None:
        missing.append(what)
    return found


def iterate_rows(path: Path, missing: list[str], what: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; how many lines are broken is added to `missing`."""
    try:
        lines = list(iterate_lines(path))
    except OSError:
        missing.append(what)
        return
    broken = 0
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            broken += bool(line.strip())
            continue
        if isinstance(row, dict):
            yield row
        else:
            broken += 1
    if broken:
        missing.append(f"{path.name}: {broken} broken line{'s' if broken > 1 else ''} left out")


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: Any) -> float | None:
    """A finite number, rounded to 6 digits; None for anything else."""
    return round(value, 6) if is_number(value) and math.isfinite(value) else None


def shortened(text: Any, most: int = MOST_CHARACTERS) -> str:
    """A text's first `most` characters, control characters made visible; "" for anything else."""
    if not isinstance(text, str):
        return ""
    lines = "\n".join(visible(line) for line in text[:most].split("\n"))
    return lines + (" .." if len(text) > most else "")


def question_of(prompt: Any) -> str:
    """The last user's turn of a recorded prompt, shortened; "" where there is none."""
    if not isinstance(prompt, str):
        return ""
    turns = re.split(r"^\[(system|user|assistant|tool)\] ", prompt, flags=re.MULTILINE)
    asked = [text for role, text in zip(turns[1::2], turns[2::2], strict=True) if role == "user"]
    return shortened(asked[-1].strip()) if asked else ""


def object_or_empty(value: Any) -> dict[str, Any]:
    """The value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def list_or_empty(value: Any) -> list[Any]:
    """The value if it is a list, else []."""
    return value if isinstance(value, list) else []

"""Values in the grammar of Hydra, which verl's command line is read by."""

from __future__ import annotations

import shlex
from typing import Any

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@+")


def hydra_value(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        pairs = (f"{hydra_value(str(key))}:{hydra_value(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    text = str(value)
    if text and set(text) <= _PLAIN and not _reads_as_another(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _reads_as_another(text: str) -> bool:
    """Whether an unquoted text would be a number, a truth value or nothing, or has a colon, which
    parts a dictionary's key from its value.
    """
    if text.lower() in ("null", "true", "false", "nan", "inf", "-inf") or ":" in text:
        return True
    try:
        float(text.replace("_", ""))
    except ValueError:
        return False
    return True


def shell_command(environment: dict[str, str], arguments: list[str]) -> str:
    """The same as a shell reads it, one argument a line."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    head = " ".join([*variables, *map(shlex.quote, arguments[:3])])
    return " \\\n    ".join([head, *map(shlex.quote, arguments[3:])])

"""The exception for wrong input, and helpers that format names and values for error messages."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

_WORDED = {
    MemoryError: "memory ran out",
    RecursionError: "it is nested too deeply",
    KeyboardInterrupt: "it was interrupted",
}

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")
"""What torch's errors say where memory ran out, on a CPU and on a GPU."""


class InputError(ValueError):
    """Wrong input of the user. The message says what is wrong, where, and how to fix it."""


def message_of(error: BaseException) -> str:
    """An error's message; empty where it cannot be said, which is up to classes of others."""
    try:
        return str(error)
    except Exception:
        return ""


def reason(error: BaseException, clean: Callable[[str], str] = str) -> str:
    """The first line of an error's message, or its class name where the message is empty.

    Args:
        clean: applied to the whole message before its first line is taken.
    """
    for kind, words in _WORDED.items():
        if isinstance(error, kind):
            return words
    line = clean(message_of(error)).strip().split("\n")[0].strip()
    return line or type(error).__name__


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a text"),
    ((list, tuple), "a list"),
    (dict, "an object"),
)
_LONGEST = 100
_SHOWN = 3
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories of invisible characters: controls, directions, line ends."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown scheme 'rset': did you mean 'rest'? known: official, rest, uniform`."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:_LONGEST], names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {short(name)}: {hint}known: {', '.join(names)}"


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raise an `InputError` with `unknown_name` if a name is not known."""
    if name not in known:
        raise InputError(unknown_name(kind, name, known))


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The item of a name; an `InputError` as `check_name` if there is none."""
    check_name(kind, name, known)
    return known[name]


def kind_of(value: object) -> str:
    """What a value of JSON is, in plain words: `null`, `a list`; of another its class."""
    kinds = (words for kind, words in _KINDS if isinstance(value, kind))
    return next(kinds, f"a {type(value).__name__}")


def short(value: object) -> str:
    """`repr` of a value, cut at 200 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or lists in lists
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]}.."


def short_list(parts: Sequence[str]) -> str:
    """The first three parts, joined by semicolons, and how many more there are."""
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def counted(count: int, one: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def format_bytes(count: float) -> str:
    """`3.9 MB`, `20.6 GB`; 1 GB is 10^9 bytes."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def printable(text: str, keep: str = "") -> str:
    """The text with control characters escaped, so that it cannot move a terminal's cursor.

    Args:
        keep: characters that stay, such as line breaks.
    """
    return "".join(
        f"\\u{ord(c):04x}" if c not in keep and unicodedata.category(c) in _HIDDEN else c
        for c in text
    )


def file_name(text: str) -> str:
    """Turn any text into one safe path component, never `..`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip(".")[:_LONGEST] or "unnamed"

"""The exception for wrong input, and the words of error texts: names, values and reasons."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

_WORDED = {
    MemoryError: "memory ran out",
    RecursionError: "it is nested too deeply",
    KeyboardInterrupt: "it was interrupted",
}


class InputError(ValueError):
    """The user gave something unusable; the text says what, where, and how to mend it."""


def reason(error: BaseException, clean: Callable[[str], str] = str) -> str:
    """What an error says, in one line that is never empty.

    Args:
        clean: applied to all that it says, before its first line is taken.
    """
    for kind, words in _WORDED.items():
        if isinstance(error, kind):
            return words
    line = clean(str(error)).strip().split("\n")[0].strip()
    return line or type(error).__name__


_LONGEST = 100
_SHOWN = 3
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode's categories of what is not seen but acts: controls, directions, ends of lines."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown scheme 'rset': did you mean 'rest'? known: official, rest, uniform`."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:_LONGEST], names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {short(name)}: {hint}known: {', '.join(names)}"


def short(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or lists in lists
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]}.."


def short_list(parts: Sequence[str]) -> str:
    """The first of some words, and how many more there are."""
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def printable(text: str, keep: str = "") -> str:
    """A text with what would move a terminal's cursor or end the line written as its code.

    Args:
        keep: characters that stay, such as line breaks.
    """
    return "".join(
        f"\\u{ord(c):04x}" if c not in keep and unicodedata.category(c) in _HIDDEN else c
        for c in text
    )


def file_name(text: str) -> str:
    """A name for a file or folder of any text: one part of a path, and not `..`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip(".")[:_LONGEST] or "unnamed"

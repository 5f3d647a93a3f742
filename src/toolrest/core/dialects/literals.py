"""Reader of nested literals that are not JSON, in linear time and without recursion.

How strings, words, numbers and keys are written is a dialect's own: see `python_calls`, `braces`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from toolrest.core.dialects.json_call import skip

WORDS = {
    **dict.fromkeys(("true", "True"), True),
    **dict.fromkeys(("false", "False"), False),
    **dict.fromkeys(("null", "None"), None),
}
"""JSON's words and Python's: templates write the ones at the top and the others within."""
BARE = re.compile(r"[+-]?+[0-9A-Za-z_.]++(?:(?<=[eE])[+-][0-9_]++)?")
"""A word or a number."""
_DEEPEST = 200
_MOST_BITS = 14_000
"""Of an integer: Python writes out no more than 4,300 digits."""


class Unreadable(ValueError):
    """There is no value at this place."""

    def __init__(self, at: int) -> None:
        super().__init__(f"no value at character {at}")
        self.at = at


@dataclass(frozen=True)
class Bracket:
    """What an opening bracket opens."""

    closing: str
    """The bracket that ends it."""
    keyed: bool = False
    """Whether its values have keys."""
    single: bool = False
    """Whether one value in it, without a comma, is that value."""


@dataclass(slots=True)
class _Open:
    bracket: Bracket
    items: list[Any] = field(default_factory=list)
    pairs: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    commas: bool = False

    def add(self, value: Any) -> None:
        if self.bracket.keyed:
            self.pairs[self.key] = value
        else:
            self.items.append(value)

    def value(self) -> Any:
        if self.bracket.keyed:
            return self.pairs
        alone = self.bracket.single and len(self.items) == 1 and not self.commas
        return self.items[0] if alone else self.items


class Reader(ABC):
    """Reads nested values from a text; subclasses define keys and scalars."""

    brackets: ClassVar[Mapping[str, Bracket]]
    """By the opening bracket."""
    trailing_comma: ClassVar[bool]
    """Whether a comma may follow the last value."""
    marks: tuple[str, str] | None = None
    """What opens and what closes a block of calls, where they stand between marks."""

    def __init__(self, text: str, *, trusting: bool = True) -> None:
        """
        Args:
            trusting: whether a string may hold the mark that closes a block. After one that held it
                by mistake, none is believed: reading on from there again and again would take long.
        """
        self.text = text
        self.trusting = trusting
        self.crossed: int | None = None
        """Where the first string begins that holds a closing mark."""

    def believed(self, broken: Unreadable, quotes: tuple[str, ...]) -> int:
        """How far the reader is to be believed where it broke: to the string that has no end, or to
        the first that holds a closing mark, for that may have lost its end.

        Args:
            quotes: what strings begin with.
        """
        no_end = broken.at == len(self.text) or self.text.startswith(quotes, broken.at)
        return broken.at if no_end or self.crossed is None else self.crossed

    @abstractmethod
    def scalar(self, at: int, within: Bracket) -> tuple[Any, int]:
        """(scalar at `at`, its end).

        Raises:
            Unreadable: none stands there.
        """

    @abstractmethod
    def key(self, at: int, within: Bracket) -> tuple[str, int]:
        """(key at `at`, start of its value).

        Raises:
            Unreadable: none stands there.
        """

    def check_string(self, at: int, end: int) -> None:
        """A string may say what closes its block, but one that goes on to what opens another has
        lost its end and swallowed a call.

        Raises:
            Unreadable: so it is.
        """
        if self.marks is None:
            return
        opening, closing = self.marks
        closed = self.text.find(closing, at, end)
        if closed < 0:
            return
        if self.crossed is None:
            self.crossed = at
        if not self.trusting or self.text.find(opening, closed, end) >= 0:
            raise Unreadable(at)

    def skip(self, at: int) -> int:
        """The index after the white space at `at`."""
        return skip(self.text, at)

    def read(self, at: int, outer: Bracket) -> tuple[Any, int]:
        """(value whose opening bracket `outer` is at `at`, its end).

        Raises:
            Unreadable: it breaks off, holds what is no value, or is nested too deeply.
        """
        text, due = self.text, False
        frames = [_Open(outer)]
        at += 1
        while True:
            at = self.skip(at)
            frame = frames[-1]
            if not due and text.startswith(frame.bracket.closing, at):
                frames.pop()
                at += 1
                value = frame.value()
                if not frames:
                    return value, at
            else:
                if frame.bracket.keyed:
                    frame.key, at = self.key(at, frame.bracket)
                    at = self.skip(at)
                inner = self.brackets.get(text[at : at + 1])
                if inner is not None:
                    if len(frames) == _DEEPEST:
                        raise Unreadable(at)
                    frames.append(_Open(inner))
                    at, due = at + 1, False
                    continue
                value, at = self.scalar(at, frame.bracket)
            frame = frames[-1]
            frame.add(value)
            at = self.skip(at)
            due = False
            if text.startswith(",", at):
                at += 1
                frame.commas, due = True, not self.trailing_comma
            elif not text.startswith(frame.bracket.closing, at):
                raise Unreadable(at)


def whole(text: str, base: int = 10) -> int:
    """Parse an integer that Python can print again.

    Raises:
        ValueError: it is none, or too long.
    """
    value = int(text, base)
    if value.bit_length() > _MOST_BITS:
        raise ValueError("an integer of thousands of digits")
    return value

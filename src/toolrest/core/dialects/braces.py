"""Calls as Google's Gemma models write them: `call:name{key:value,..}` between two marks.

Strings stand between two marks and hold anything else as it is; keys stand as they are, or between
the marks of a string; the other values are JSON's, and Python's None, which the templates write.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from toolrest.core.dialects.base import SPACES, Block, ParseStatus, ToolCall
from toolrest.core.dialects.json_call import finite
from toolrest.core.dialects.literals import BARE, WORDS, Bracket, Reader, Unreadable, whole
from toolrest.core.dialects.scanning import Scanning
from toolrest.core.regions import SCAFFOLDING, Region

_OBJECT = Bracket("}", keyed=True)
_HEAD = re.compile(r"call:([^{}<>\n]*+)(\{?)")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*+)")
_NUMBER = re.compile(rf"{_INTEGER.pattern}(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")


@dataclass(frozen=True)
class BraceMarks:
    """The marks of one dialect."""

    opening: str
    """What opens a call."""
    closing: str
    """What closes it."""
    string: str
    """What opens and what closes a string."""
    others: tuple[str, ...] = ()
    """What opens other blocks, and shows that a closing mark is missing."""

    @cached_property
    def certain_call(self) -> re.Pattern[str]:
        """Pattern of an unambiguous start of a call."""
        return re.compile(rf"{re.escape(self.opening)}[ \t\r\n]*+call:")

    @cached_property
    def call_ends(self) -> re.Pattern[str]:
        """Pattern of a call's end, or of a mark that shows that the end is missing."""
        return re.compile("|".join(map(re.escape, (self.closing, self.opening, *self.others))))

    @cached_property
    def key(self) -> re.Pattern[str]:
        """Pattern of a key without marks, up to its colon."""
        marks = "|".join(map(re.escape, (self.opening, self.closing, self.string)))
        return re.compile(rf'(?!")((?:(?!{marks})[^{{}}\[\]:,])*+):')


class _Reader(Reader):
    brackets: ClassVar = {"{": _OBJECT, "[": Bracket("]")}
    trailing_comma: ClassVar = False

    def __init__(self, text: str, marks: BraceMarks, *, trusting: bool) -> None:
        super().__init__(text, trusting=trusting)
        self.written = marks
        self.marks = (marks.opening, marks.closing)

    def key(self, at: int, within: Bracket) -> tuple[str, int]:
        text = self.text
        if text.startswith(self.written.string, at):
            key, end = self.string(at)
            end = self.skip(end)
            if not text.startswith(":", end):
                raise Unreadable(at)
            return key, end + 1
        bare = self.written.key.match(text, at)
        if bare is None:
            raise Unreadable(at)
        return bare[1].strip(SPACES), bare.end()

    def scalar(self, at: int, within: Bracket) -> tuple[Any, int]:
        if self.text.startswith(self.written.string, at):
            return self.string(at)
        token = BARE.match(self.text, at)
        if token is None:
            raise Unreadable(at)
        try:
            return _bare(token[0]), token.end()
        except ValueError:
            raise Unreadable(at) from None

    def string(self, at: int) -> tuple[str, int]:
        mark = self.written.string
        start = at + len(mark)
        end = self.text.find(mark, start)
        if end < 0:
            raise Unreadable(at)
        self.check_string(at, end)
        return self.text[start:end], end + len(mark)


def _bare(token: str) -> Any:
    if token in WORDS:
        return WORDS[token]
    if _INTEGER.fullmatch(token):
        return whole(token)
    if _NUMBER.fullmatch(token):
        return finite(token)
    raise ValueError(f"{token} is no value")


class BraceCalls(Scanning):
    """A scan of a text that holds such calls."""

    marks: ClassVar[BraceMarks]
    trusting = True

    def call(self, opening: re.Match[str]) -> int:
        """Scan the call that an opening mark begins; return where it ends or breaks."""
        text, start = self.text, opening.end()
        self.open_block(Block.CALLS)
        at = self.blank(start, len(text))
        head = _HEAD.match(text, at)
        if head is not None:
            self.mark(SCAFFOLDING, at, head.start(1))
            self.mark(Region.NAME, head.start(1), head.end(1))
            at = head.end(1)
        if head is not None and head[1] and head[2]:
            at = self.arguments(head[1], at, start)
        elif at < len(text):
            self.call_defect(ParseStatus.BAD_CALL, at)
        return self.end_of_calls(at, start, self.marks.call_ends, self.marks.closing)

    def arguments(self, name: str, at: int, block: int) -> int:
        """Scan the arguments from the brace at `at`; return where they end or break."""
        reader = _Reader(self.text, self.marks, trusting=self.trusting)
        try:
            parameters, end = reader.read(at, _OBJECT)
        except Unreadable as broken:
            believed = reader.believed(broken, (self.marks.string,))
            self.trusting &= believed == broken.at
            end = self.stop(believed)
            self.mark(Region.PARAMETERS, at, end)
            if end == len(self.text):
                self.call_defect(ParseStatus.UNCLOSED, block)
            else:
                self.call_defect(ParseStatus.BAD_CALL, broken.at)
            return end
        self.mark(Region.PARAMETERS, at, end)
        self.calls.append(ToolCall(name, parameters))
        return end

    def stop(self, at: int) -> int:
        """Where broken arguments end that are believed up to `at`. What opens a call may be said in
        a string, whose end is perhaps still to come, but not after what closes this one.
        """
        if self.text.startswith(self.marks.string, at):
            closing = self.find(self.marks.closing, at)
            return closing if closing >= 0 else len(self.text)
        mark = self.marks.call_ends.search(self.text, at)
        return mark.start() if mark else len(self.text)


def write_calls(calls: Sequence[ToolCall], marks: BraceMarks) -> str:
    """The text of calls as the templates write them, keys sorted."""
    return "".join(
        f"{marks.opening}call:{call.name}{_written(call.parameters, marks)}{marks.closing}"
        for call in calls
    )


def _written(value: Any, marks: BraceMarks) -> str:
    if isinstance(value, str):
        return f"{marks.string}{value}{marks.string}"
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: pair[0].lower())
        return f"{{{','.join(f'{_key(k, marks)}:{_written(v, marks)}' for k, v in pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(_written(item, marks) for item in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _key(key: str, marks: BraceMarks) -> str:
    """A key, between the marks of a string where it cannot stand as it is."""
    bare = marks.key.fullmatch(f"{key}:") is not None and key == key.strip(SPACES)
    return key if bare else f"{marks.string}{key}{marks.string}"

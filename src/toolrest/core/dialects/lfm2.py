"""The dialect of Liquid AI's LFM2 and LFM2.5: a list of Python calls between two marks.

    <think>Thoughts</think>Text to the user<|tool_call_start|>[tool_name(parameter='value',
    other=["a", null])]<|tool_call_end|>

See `toolrest.core.dialects.python_calls` for the values. A call may also be a JSON object,
{"name": .., "arguments": {..}}, which the models write where a system message asks for JSON.

Some of the chat templates write a string as it is, line breaks, quotes and all. Arguments that are
no Python are read so: a string ends at the first quote before a comma or a bracket, and holds no
other argument's `='`, for then its own end is missing.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from toolrest.core.dialects.base import Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import CallKeys, dump, scan_call
from toolrest.core.dialects.literals import Bracket, Unreadable
from toolrest.core.dialects.python_calls import (
    CALL,
    NAME,
    STRING_OF_LINES,
    PythonCalls,
    PythonReader,
)
from toolrest.core.dialects.scanning import ScannedDialect
from toolrest.core.regions import SCAFFOLDING

_KEYS = CallKeys(name="name", parameters="arguments")
_START, _END = "<|tool_call_start|>", "<|tool_call_end|>"
_CERTAIN_CALL = re.compile(rf"{re.escape(_START)}(?:[ \t\r\n]*+\[{NAME}\()?")
_OPENING = re.compile(re.escape(_START))
_MARKS = re.compile(f"{re.escape(_START)}|{re.escape(_END)}")
_LAST_QUOTE = re.compile(r"'(?=[ \t\r\n]*+[,:)\]}])|=[ \t\r\n]*+['\"]")
"""The end of a string that is written as it is, or the start of another one before it."""
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r"})


class _Reader(PythonReader):
    """Reads strings over more than one line."""

    marks = (_START, _END)
    string: ClassVar = STRING_OF_LINES


class _AsItIs(_Reader):
    """Reads arguments whose strings were written as they are, up to `limit`."""

    def __init__(self, text: str, limit: int) -> None:
        super().__init__(text)
        self.limit = limit

    def scalar(self, at: int, within: Bracket) -> tuple[Any, int]:
        if within is not CALL or not self.text.startswith("'", at):
            return super().scalar(at, within)
        end = _LAST_QUOTE.search(self.text, at + 1, self.limit)
        if end is None or end[0] != "'":
            raise Unreadable(at)
        return self.text[at + 1 : end.start()], end.end()


class _Scanner(PythonCalls):
    reader = _Reader
    limit = 0
    trusting = True

    def run(self) -> Scan:
        start = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        return self.turn(start, _OPENING, self.calls_in_marks)

    def calls_in_marks(self, opening: re.Match[str]) -> int:
        """The block whose opening mark that is; where it ends."""
        self.open_block(Block.CALLS)
        start = opening.end()
        return self.end_of_calls(self.list_after(start), start, _MARKS, _END)

    def list_after(self, start: int) -> int:
        """The list; where it ends, or where it broke."""
        at = self.blank(start, len(self.text))
        if not self.text.startswith("[", at):
            whole = at < len(self.text)
            self.call_defect(ParseStatus.BAD_CALL if whole else ParseStatus.UNCLOSED, start)
            return at
        self.mark(SCAFFOLDING, at, at + 1)
        return self.call_list(self.blank(at + 1, len(self.text)), start)

    def call(self, at: int, block: int) -> int | None:
        if not self.text.startswith("{", at):
            return super().call(at, block)
        scanned = scan_call(self.text, at, _KEYS)
        self.take_call(scanned, at, block)
        return scanned.end

    def arguments(self, start: int) -> tuple[int, dict[str, Any] | None]:
        reader = _Reader(self.text, trusting=self.trusting)
        try:
            value, end = reader.read(start, CALL)
        except Unreadable as broken:
            believed = reader.believed(broken, ("'", '"'))
            self.trusting &= believed == broken.at
            limit = self.end_of_block(believed)
        else:
            return end, value
        try:
            value, end = _AsItIs(self.text, limit).read(start, CALL)
        except Unreadable:
            return self.extent(start, limit), None
        goes_on = self.text.startswith((",", "]"), self.skip(end))
        return (end, value) if goes_on else (self.extent(start, limit), None)

    def end_of_block(self, at: int) -> int:
        """Where the first closing mark from `at` on is, or the end of the text."""
        if at > self.limit:
            found = self.find(_END, at)
            self.limit = found if found >= 0 else len(self.text)
        return self.limit


class LFM2(ScannedDialect):
    """Reads and writes the dialect of LFM2 and LFM2.5."""

    name = "lfm2"
    special_tokens = ("<think>", "</think>", _START, _END)
    scanner = _Scanner
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        text = "" if thought is None else f"<think>{thought}</think>"
        text += response or ""
        if calls:
            text += f"{_START}[{', '.join(map(_written, calls))}]{_END}"
        return text


def _written(call: ToolCall) -> str:
    arguments = (f"{name}={_value(value)}" for name, value in call.parameters.items())
    return f"{call.name}({', '.join(arguments)})"


def _value(value: Any) -> str:
    """A value as the newer of the templates write it: JSON within lists and dictionaries."""
    if isinstance(value, str):
        return f"'{value.translate(_QUOTED)}'"
    return dump(value) if isinstance(value, list | dict) else str(value)

"""Calls written as tags, with values as plain text.

    <tool_call>
    <function=tool_name>
    <parameter=parameter>
    value
    </parameter>
    </function>
    </tool_call>

and the like. The text of a value does not say its type: the tool's schema does (see
types.py). Nor does it say where it ends: a value cannot hold a mark of the calls,
for a value that lacks its end would swallow the next one. Only JSON that is closed before its value
ends can: there a mark stands in a string.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from toolrest.core.dialects.base import SPACES, Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import UNREADABLE, dump, load, skip
from toolrest.core.dialects.scanning import FORMAT, Scanning, empty_thought
from toolrest.core.dialects.types import Declared, Tools, declared, read_value
from toolrest.core.regions import SCAFFOLDING, Region

_JSON_STEP = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+(?:"|\\?\Z)|[\[\]{}]|(["<\\])')
"""A string, which the text's end may cut, a bracket, or what cannot stand outside of strings: that
one is the group."""


def _as_written(name: str, tools: Declared) -> str:
    return name


@dataclass(frozen=True)
class TagBlock:
    """How a dialect writes a block of calls."""

    opening: str
    """What opens the block."""
    closing: str
    """What ends it."""
    call: re.Pattern[str]
    """A call's head: its name, and what ends the head, unmatched where the head is cut."""
    call_start: str
    """What every head starts with; empty where a block is one call, whose head has no mark."""
    call_end: str
    """What ends a call; `closing` where a block is one call."""
    parameter: re.Pattern[str]
    """A parameter's head: its name, and what ends the head, unmatched where the head is cut."""
    value_end: str
    """What ends a value."""
    inner: tuple[str, ...]
    """The other marks that cannot stand in a value, a parameter's start among them."""
    ends: tuple[str, ...] = ()
    """Marks besides `opening` that show that the block's end is missing."""
    most_calls: int | None = None
    """How many calls the block may hold; more are read and are a defect."""
    bare: bool = False
    """Whether a call may stand without a block."""
    lines: bool = False
    """Whether a line break before a value and one after it are no part of it."""
    named: Callable[[str, Declared], str] = _as_written
    """The name of the tool that is called by the name that is written."""
    name: int = Region.NAME
    """The code of a name in a head; SCAFFOLDING where it was written before."""

    @cached_property
    def start(self) -> re.Pattern[str]:
        """Pattern of a block's start: its opening mark, or nothing before a call without one."""
        call = f"|(?={re.escape(self.call_start)})" if self.bare else ""
        return re.compile(re.escape(self.opening) + call)

    @cached_property
    def _stop(self) -> re.Pattern[str]:
        return _any(self.call_start, self.closing, self.opening, *self.ends)

    @cached_property
    def _value_stop(self) -> re.Pattern[str]:
        others = (self.value_end, self.call_start, self.call_end, *self.inner, *self.ends)
        return _any(self.closing, self.opening, *others)

    def scan(self, into: Scanning, start: int, tools: Declared, *, bare: bool = False) -> int:
        """Scan the block whose opening mark ends at `start`; return the block's end.

        Args:
            bare: there is no opening mark: the block ends with its first whole call.
        """
        text = into.text
        into.open_block(Block.CALLS)
        at, count = start, 0
        while True:
            at = into.blank(at, len(text))
            head = self.call.match(text, at) if self.call_start or count == 0 else None
            if head is not None:
                count += 1
                if self.most_calls is not None and count > self.most_calls:
                    into.call_defect(ParseStatus.BAD_CALL, at)
                at, whole = self._call(into, head, start, tools)
                if whole and bare and not text.startswith(self.closing, into.skip(at)):
                    return at
                if whole and self.call_end == self.closing:
                    return at
                continue
            stop = self._stop.search(text, at)
            until = stop.start() if stop else len(text)
            into.junk(at, until)
            if stop is None or stop[0] == self.opening or stop[0] in self.ends:
                into.call_defect(ParseStatus.UNCLOSED, start)
                return until
            if stop[0] == self.closing:
                if count == 0 or bare:
                    into.call_defect(ParseStatus.BAD_CALL, start)
                into.mark(FORMAT, until, stop.end())
                return stop.end()
            at = until

    def _call(
        self, into: Scanning, head: re.Match[str], block: int, tools: Declared
    ) -> tuple[int, bool]:
        """One call; where it ends, and whether it is whole, or where it broke."""
        text = into.text
        into.mark(SCAFFOLDING, head.start(), head.start(1))
        into.mark(self.name, head.start(1), head.end(1))
        into.mark(SCAFFOLDING, head.end(1), head.end())
        if head[2] is None:
            return into.broken(head.end(), block), False
        name = self.named(head[1], tools)
        at, parameters = self._parameters(into, head.end(), block, name, tools)
        at = into.blank(at, len(text))
        if not text.startswith(self.call_end, at):
            return (at if parameters is None else into.broken(at, block)), False
        end = at + len(self.call_end)
        into.mark(FORMAT if self.call_end == self.closing else SCAFFOLDING, at, end)
        if not name.strip(SPACES):
            into.call_defect(ParseStatus.BAD_CALL, head.start())
        elif parameters is not None:
            into.calls.append(ToolCall(name, parameters))
        return end, True

    def _parameters(
        self, into: Scanning, start: int, block: int, tool: str, tools: Declared
    ) -> tuple[int, dict[str, Any] | None]:
        """Where the parameters end, and what they are; None where one of them is broken.

        All of them are one span, white space between them included. One that lacks its end stops
        where the next one starts.
        """
        text = into.text
        found: dict[str, Any] | None = {}
        begin = end = at = into.blank(start, len(text))
        while (head := self.parameter.match(text, at)) is not None:
            close = self._value_end(text, head.end()) if head[2] is not None else None
            if close is None:
                mark = self._value_stop.search(text, head.end())
                end = at = mark.start() if mark else len(text)
                into.broken(at, block)
                found = None
                continue
            if found is not None:
                value = text[head.end() : close]
                value = _without_breaks(value) if self.lines else value
                found[head[1]] = read_value(value, tool, head[1], tools)
            end = close + len(self.value_end)
            at = into.skip(end)
        into.mark(Region.PARAMETERS, begin, end)
        return end, found

    def _value_end(self, text: str, start: int) -> int | None:
        """Where the value at `start` ends; None where another mark comes first, or nothing.

        JSON that is cut with the text has no end, though a mark stands in a string of it.
        """
        mark = self._value_stop.search(text, start)
        if mark is None:
            return None
        end = _closed(text, start, mark.start())
        if end is not None and text.startswith(self.value_end, end):
            return end
        if end is not None and self.value_end.startswith(text[end : end + len(self.value_end)]):
            return None
        return mark.start() if mark[0] == self.value_end else None


class TaggedDialect(Dialect):
    """A dialect whose turn is a thought, text to the user, and blocks of calls."""

    reads_types = True
    block: ClassVar[TagBlock]
    """How it writes a block of calls."""
    certain_call: ClassVar[re.Pattern[str]]
    """The start of a call that certainly is one, which ends an open thought."""

    def scan(self, text: str, tools: Tools = None) -> Scan:
        into, known = Scanning(text), declared(tools)

        def block(tag: re.Match[str]) -> int:
            return self.block.scan(into, tag.end(), known, bare=not tag[0])

        start = into.leading_thought("<think>", "</think>", self.certain_call)
        return into.turn(start, self.block.start, block)

    def without_thought(self, text: str) -> str:
        return empty_thought(text)


def _any(*marks: str) -> re.Pattern[str]:
    """One of the marks, the longest that there is."""
    return re.compile("|".join(map(re.escape, sorted({*marks} - {""}, key=len, reverse=True))))


def _closed(text: str, start: int, mark: int) -> int | None:
    """Where a list or an object of JSON that starts at `start` ends, with the white space after it,
    if `mark`, the first mark after `start`, stands in a string of it; the text's end for one that
    is cut there.

    A text with many values costs no more than a few readings of it: what goes on over the next
    value's start has it in a string, and what starts there has the same quotes the other way round,
    so that one of the two breaks at the value after.
    """
    begin = skip(text, start)
    if text[begin] not in "[{":
        return None
    depth, at = 0, begin
    while (step := _JSON_STEP.search(text, at)) is not None and step[1] is None:
        at = step.end()
        depth += (step[0] in "[{") - (step[0] in "]}")
        if depth == 0:
            return skip(text, at) if at > mark and _is_json(text[begin:at]) else None
    return len(text) if step is None and at > mark else None


def _is_json(text: str) -> bool:
    try:
        load(text)
    except UNREADABLE:
        return False
    return True


def _without_breaks(text: str) -> str:
    """A value's text without the line breaks around it."""
    for end in ("\n", "\r\n"):
        if text.startswith(end):
            return text[len(end) :].removesuffix(end)
    return text.removesuffix("\n")


def written(value: Any) -> str:
    """Write a value as plain text."""
    return value if isinstance(value, str) else dump(value)


def invokes(
    opening: str,
    closing: str,
    prefix: str = "",
    *,
    ends: tuple[str, ...] = (),
    named: Callable[[str, Declared], str] = _as_written,
    name: int = Region.NAME,
) -> TagBlock:
    """A block of `<invoke name="..">` with `<parameter name="..">` in it.

    Args:
        prefix: what stands before these tags' names.
        ends: as in `TagBlock`; so are `named` and `name`.
    """
    call, parameter = f'<{prefix}invoke name="', f'<{prefix}parameter name="'
    return TagBlock(
        opening=opening,
        closing=closing,
        call=re.compile(rf'{call}([^"<>\n]*+)(">)?'),
        call_start=call,
        call_end=f"</{prefix}invoke>",
        parameter=re.compile(rf'{parameter}([^"<>\n]*+)(">)?'),
        value_end=f"</{prefix}parameter>",
        inner=(parameter,),
        ends=ends,
        named=named,
        name=name,
    )


def write_invoke(call: ToolCall, prefix: str = "") -> str:
    """One call as such tags; `prefix` as in `invokes`."""
    lines = [f'<{prefix}invoke name="{call.name}">']
    for name, value in call.parameters.items():
        lines.append(f'<{prefix}parameter name="{name}">{written(value)}</{prefix}parameter>')
    return "\n".join([*lines, f"</{prefix}invoke>"])

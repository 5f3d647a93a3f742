"""The dialect of Qwen3-Coder: calls as nested tags, values as plain text.

    Text to the user
    <tool_call>
    <function=tool_name>
    <parameter=parameter>
    value
    </parameter>
    </function>
    </tool_call>

The text of a value does not say its type. What is JSON other than a string is read as JSON, all
else as a string: the string "5" cannot be expressed. A thought between `<think>` tags may come
first.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.json_call import UNREADABLE, dump, load
from toolrest.dialects.scanning import Scanning, empty_thought, write_thought
from toolrest.regions import SCAFFOLDING, Region

_OPENING = re.compile(r"<tool_call>|(?=<function=)")
_CERTAIN_CALL = re.compile(r"<tool_call>[ \t\r\n]*<function=")
_FUNCTION = re.compile(r"<function=([^<>\n]*)(>?)")
_PARAMETER = re.compile(r"<parameter=([^<>\n]*)(>?)")
_STEP = re.compile(r"<parameter=|</function>|</tool_call>|<tool_call>|<function=")
_END_PARAMETER, _END_FUNCTION, _END_CALL = "</parameter>", "</function>", "</tool_call>"


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        while (tag := _OPENING.search(text, at)) is not None:
            self.free_response(at, tag.start())
            self.mark(Region.FORMAT, tag.start(), tag.end())
            self.open_block(Block.CALLS)
            at = self.call(tag.end(), wrapped=tag.end() > tag.start())
        self.free_response(at, len(text))
        return self.result()

    def broken(self, at: int, block: int) -> int:
        """The call breaks at `at`."""
        if at == len(self.text):
            self.call_defect(ParseStatus.UNCLOSED, block)
        else:
            self.call_defect(ParseStatus.BAD_CALL, at)
        return at

    def call(self, start: int, *, wrapped: bool) -> int:
        """One call; where it ends, or where it broke."""
        text = self.text
        at = self.blank(start, len(text))
        head = _FUNCTION.match(text, at)
        if head is None:
            end = self.find(_END_CALL, at)
            stop = end if end >= 0 else len(text)
            self.junk(at, stop)
            self.broken(stop if end < 0 else start, start)
            self.mark(Region.FORMAT, stop, stop + len(_END_CALL) if end >= 0 else stop)
            return stop + len(_END_CALL) if end >= 0 else stop
        self.mark(SCAFFOLDING, at, head.start(1))
        self.mark(Region.NAME, head.start(1), head.end(1))
        self.mark(SCAFFOLDING, head.end(1), head.end())
        if not head[2]:
            return self.broken(head.end(), start)
        at, parameters = self.parameters(head.end(), start)
        if parameters is None:
            return at
        at = self.blank(at, len(text))
        if not text.startswith(_END_FUNCTION, at):
            return self.broken(at, start)
        self.mark(SCAFFOLDING, at, at + len(_END_FUNCTION))
        at += len(_END_FUNCTION)
        if wrapped:
            at = self.blank(at, len(text))
            if not text.startswith(_END_CALL, at):
                return self.broken(at, start)
            self.mark(Region.FORMAT, at, at + len(_END_CALL))
            at += len(_END_CALL)
        elif (space := self.blank(at, len(text))) and text.startswith(_END_CALL, space):
            self.mark(Region.FORMAT, space, space + len(_END_CALL))
            at = space + len(_END_CALL)
            self.call_defect(ParseStatus.BAD_CALL, space)
        else:
            at = space
        self.calls.append(ToolCall(head[1], parameters))
        return at

    def parameters(self, start: int, block: int) -> tuple[int, dict[str, Any] | None]:
        """Where the parameters end, and what they are; None where they are broken.

        All of them are one span, white space between them included.
        """
        text = self.text
        found: dict[str, Any] = {}
        begin = at = self.blank(start, len(text))
        end = begin
        while (head := _PARAMETER.match(text, at)) is not None:
            close = self.find(_END_PARAMETER, head.end()) if head[2] else -1
            if close < 0:
                step = _STEP.search(text, head.end())
                stop = step.start() if step else len(text)
                self.mark(Region.PARAMETERS, begin, stop)
                self.broken(stop, block)
                return stop, None
            found[head[1]] = _read(text[head.end() : close])
            end = close + len(_END_PARAMETER)
            at = _past_space(text, end)
        self.mark(Region.PARAMETERS, begin, end)
        return end, found


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _read(text: str) -> Any:
    text = text.replace("\r\n", "\n") if text.startswith("\r\n") else text
    text = text.removeprefix("\n").removesuffix("\n")
    try:
        value = load(text)
    except UNREADABLE:
        return text
    return text if isinstance(value, str) else value


class QwenXML(Dialect):
    """Reads and writes the dialect of Qwen3-Coder."""

    name = "qwen_xml"
    special_tokens = ("<think>", "</think>", "<tool_call>", "</tool_call>")

    def scan(self, text: str) -> Scan:
        return _Scanner(text).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        parts = [response] if response else []
        for call in calls:
            lines = [f"<tool_call>\n<function={call.name}>"]
            for name, value in call.parameters.items():
                text = value if isinstance(value, str) else dump(value)
                lines.append(f"<parameter={name}>\n{text}\n{_END_PARAMETER}")
            parts.append("\n".join([*lines, _END_FUNCTION, _END_CALL]))
        return write_thought(thought) + "\n".join(parts)

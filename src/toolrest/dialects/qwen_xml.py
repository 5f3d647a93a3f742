"""The dialect of Qwen3-Coder: calls as nested tags, values as plain text.

    Text to the user
    <tool_call>
    <function=tool_name>
    <parameter=parameter>
    value
    </parameter>
    </function>
    </tool_call>

The text of a value does not say its type: the tool's schema does (see `toolrest.dialects.types`).
A thought between `<think>` tags may come first. A value cannot hold the mark `<parameter=`: where
one lacks its end, it would swallow the next.
"""

import re
from collections.abc import Sequence
from typing import Any

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.json_call import dump
from toolrest.dialects.scanning import Scanning, empty_thought, write_thought
from toolrest.dialects.types import Declared, Tools, declared, read_value
from toolrest.regions import SCAFFOLDING, Region

_OPENING = re.compile(r"<tool_call>|(?=<function=)")
_CERTAIN_CALL = re.compile(r"<tool_call>[ \t\r\n]*<function=")
_FUNCTION = re.compile(r"<function=([^<>\n]*)(>?)")
_PARAMETER = re.compile(r"<parameter=([^<>\n]*)(>?)")
_STEP = re.compile(r"<parameter=|</function>|</tool_call>|<tool_call>|<function=")
_VALUE_END = re.compile(r"</parameter>|<parameter=")
_END_PARAMETER, _END_FUNCTION, _END_CALL = "</parameter>", "</function>", "</tool_call>"


class _Scanner(Scanning):
    def __init__(self, text: str, tools: Declared) -> None:
        super().__init__(text)
        self.tools = tools

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
        at, parameters = self.parameters(head.end(), start, head[1])
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

    def parameters(self, start: int, block: int, tool: str) -> tuple[int, dict[str, Any] | None]:
        """Where the parameters end, and what they are; None where they are broken.

        All of them are one span, white space between them included.
        """
        text = self.text
        found: dict[str, Any] = {}
        begin = at = self.blank(start, len(text))
        end = begin
        while (head := _PARAMETER.match(text, at)) is not None:
            close = _VALUE_END.search(text, head.end()) if head[2] else None
            if close is None or close[0] != _END_PARAMETER:
                step = _STEP.search(text, head.end())
                stop = step.start() if step else len(text)
                self.mark(Region.PARAMETERS, begin, stop)
                self.broken(stop, block)
                return stop, None
            found[head[1]] = read_value(
                _written(text[head.end() : close.start()]), tool, head[1], self.tools
            )
            end = close.end()
            at = _past_space(text, end)
        self.mark(Region.PARAMETERS, begin, end)
        return end, found


def _past_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _written(text: str) -> str:
    """A value's text without the line breaks around it."""
    text = text.replace("\r\n", "\n") if text.startswith("\r\n") else text
    return text.removeprefix("\n").removesuffix("\n")


class QwenXML(Dialect):
    """Reads and writes the dialect of Qwen3-Coder."""

    name = "qwen_xml"
    special_tokens = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    reads_types = True

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text, declared(tools)).run()

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

"""The dialect of Kimi K2: a section of calls, each an id and JSON.

    <think>Thoughts</think>Text to the user<|tool_calls_section_begin|><|tool_call_begin|>
    functions.tool_name:0<|tool_call_argument_begin|>{"parameter": "value"}<|tool_call_end|>
    <|tool_calls_section_end|>

without the line breaks between marks. The id of a call holds the tool's name and the call's number,
which counts the calls of a dialogue; here it is read over, and written from 0 on. The thought is of
K2-Thinking and later.

Source: moonshotai/Kimi-K2-Instruct, docs/tool_call_guidance.md.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import ToolCall
from toolrest.core.dialects.json_call import dump
from toolrest.core.dialects.scanning import ScannedDialect
from toolrest.core.dialects.token_calls import Marks, TokenCalls
from toolrest.core.regions import SCAFFOLDING, Region

_MARKS = Marks(
    section="<|tool_calls_section_begin|>",
    call="<|tool_call_begin|>",
    end_call="<|tool_call_end|>",
    end_section="<|tool_calls_section_end|>",
)
_ARGUMENTS = "<|tool_call_argument_begin|>"
_HEAD = re.compile(r"[ \t\r\n]*+(?:functions\.)?+([^:<\r\n]*+)(:[0-9]++)?+")


class _Scanner(TokenCalls):
    marks = _MARKS

    def call(self, start: int, block: int) -> int:
        text = self.text
        head = _HEAD.match(text, start)
        assert head is not None  # every part of the pattern may be empty
        self.mark(SCAFFOLDING, start, head.start(1))
        self.mark(Region.NAME, *head.span(1))
        self.mark(SCAFFOLDING, head.end(1), head.end())
        at = self.blank(head.end(), len(text))
        if not text.startswith(_ARGUMENTS, at):
            return self.broken(at, block)
        self.mark(Region.FORMAT, at, at + len(_ARGUMENTS))
        return self.parameters(head[1] if head[2] else "", at + len(_ARGUMENTS), block)


class Kimi(ScannedDialect):
    """Reads and writes the dialect of Kimi K2."""

    name = "kimi"
    special_tokens = (
        *("<think>", "</think>", _MARKS.section, _MARKS.call, _ARGUMENTS),
        *(_MARKS.end_call, _MARKS.end_section),
    )
    stop_tokens = ("<|im_end|>",)
    scanner = _Scanner
    certain_call = _MARKS.certain

    def call_id(self, name: str, number: int) -> str:
        return f"functions.{name}:{number}"

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = "".join(
            f"{_MARKS.call}{self.call_id(call.name, index)}{_ARGUMENTS}{dump(call.parameters)}"
            f"{_MARKS.end_call}"
            for index, call in enumerate(calls)
        )
        section = f"{_MARKS.section}{written}{_MARKS.end_section}" if calls else ""
        return ("" if thought is None else f"<think>{thought}</think>") + (response or "") + section

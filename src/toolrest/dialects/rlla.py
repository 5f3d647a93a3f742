"""The RLLA dialect of ToolRL and ResT.

    <think> Thoughts </think>
    <tool_call>
    {"name": "Tool name", "parameters": {"parameter": "value"}}
    </tool_call>
    <response> The final response </response>

One JSON object a line, any number of them in the block.
"""

import re
from collections.abc import Sequence

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.json_block import JsonBlock
from toolrest.dialects.json_call import CallKeys, dump_call
from toolrest.dialects.scanning import FORMAT, Scanning

_KEYS = CallKeys(name="name", parameters="parameters")
_CALLS = JsonBlock(_KEYS, "</tool_call>", interrupts=("<think>", "<response>"), most_calls=None)
_OPENING = re.compile(r"<(think|tool_call|response)>")
_IMPLICIT_END = re.compile(r"<tool_call>[ \t\r\n]*\{|(?<=\n)<response>")


class _Scanner(Scanning):
    """A thought that mentions a tag misleads it not: a thought ends at its closing tag."""

    def run(self) -> Scan:
        text = self.text
        at = 0
        while (tag := _OPENING.search(text, at)) is not None:
            begin, start = tag.span()
            self.stray(at, begin)
            self.mark(FORMAT, begin, start)
            if tag[1] == "tool_call":
                at = _CALLS.scan(self, start)
                continue
            self.open_block(Block.THOUGHT if tag[1] == "think" else Block.RESPONSE)
            end, at = self.close(f"</{tag[1]}>", start)
            if tag[1] == "think":
                self.thought_text(start, end)
            else:
                self.response_text(start, end)
            self.mark(FORMAT, end, at)
        self.stray(at, len(text))
        return self.result()

    def close(self, tag: str, start: int) -> tuple[int, int]:
        """Where the block's text ends, and where its closing tag does.

        Without a closing tag the text goes on to the next block that certainly is one.
        """
        end = self.find(tag, start)
        if end >= 0:
            return end, end + len(tag)
        self.defect(ParseStatus.UNCLOSED, start)
        following = _IMPLICIT_END.search(self.text, start)
        end = following.start() if following else len(self.text)
        return end, end


class RLLA(Dialect):
    """Reads and writes the RLLA dialect."""

    name = "rlla"
    special_tokens = (
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<response>",
        "</response>",
    )

    def scan(self, text: str) -> Scan:
        return _Scanner(text).run()

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        parts = []
        if thought is not None:
            parts.append(f"<think> {thought} </think>")
        if calls:
            lines = [dump_call(call, _KEYS) for call in calls]
            parts.append("\n".join(("<tool_call>", *lines, "</tool_call>")))
        if response is not None:
            parts.append(f"<response> {response} </response>")
        return "\n".join(parts)

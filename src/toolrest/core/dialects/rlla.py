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

from toolrest.core.dialects.base import SPACES, Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_block import JsonBlock
from toolrest.core.dialects.json_call import UNREADABLE, CallKeys, decode, dump_call
from toolrest.core.dialects.scanning import FORMAT, ScannedDialect, Scanning
from toolrest.core.dialects.types import Tools

_KEYS = CallKeys(name="name", parameters="parameters")
_CALLS = JsonBlock(_KEYS, "</tool_call>", interrupts=("<think>", "<response>"), most_calls=None)
_OPENING = re.compile(r"<(think|tool_call|response)>")
_CERTAIN_CALL = re.compile(r"<tool_call>[ \t\r\n]*\{")
_IMPLICIT_END = re.compile(r"<tool_call>[ \t\r\n]*\{|(?<=\n)<response>")
_CALLS_TOOLS, _RESPONDS = (Block.THOUGHT, Block.CALLS), (Block.THOUGHT, Block.RESPONSE)
_THINK, _END_THINK = "<think>", "</think>"
_RESPONSE = re.compile(r"[ \t\r\n]*+<response>([^<]*+)</response>[ \t\r\n]*+\Z")
_FIRST_CALL = re.compile(r"[ \t\r\n]*+<tool_call>[ \t\r\n]*+(?=\{)")
_NEXT_CALL = re.compile(r"[ \t\r\n]*+(?:(?=\{)|</tool_call>[ \t\r\n]*+\Z)")


def _usual_calls(text: str, at: int) -> tuple[ToolCall, ...] | None:
    """The calls of one block that fills the text from `at` on; None where anything is unusual."""
    calls: list[ToolCall] = []
    step = _FIRST_CALL.match(text, at)
    while step is not None:
        at = step.end()
        if at == len(text):
            return tuple(calls)
        try:
            value, at = decode(text, at)
        except UNREADABLE:
            return None
        name, parameters = value.get(_KEYS.name), value.get(_KEYS.parameters)
        if not isinstance(name, str) or not isinstance(parameters, dict):
            return None
        calls.append(ToolCall(name, parameters))
        step = _NEXT_CALL.match(text, at)
    return None


class _Scanner(Scanning):
    """Scans RLLA's blocks. A thought ends at its closing tag, whatever tags it mentions."""

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
        """(end of the block's text, end of its closing tag); a tag inside a call does not count.

        Without a closing tag the text goes on to the next block that certainly is one.
        """
        end = self.closing(tag, start, _CERTAIN_CALL)
        if end >= 0:
            return end, end + len(tag)
        self.defect(ParseStatus.UNCLOSED, start)
        following = _IMPLICIT_END.search(self.text, start)
        end = following.start() if following else len(self.text)
        return end, end


class RLLA(ScannedDialect):
    """Reads and writes the RLLA dialect."""

    name = "rlla"
    special_tokens = (
        *("<think>", "</think>", "<tool_call>", "</tool_call>"),
        *("<response>", "</response>"),
    )
    scanner = _Scanner
    certain_call = _CERTAIN_CALL

    def read(self, text: str, tools: Tools = None) -> Scan:
        """A thought, then well-formed calls or a response, which most replies are."""
        end = text.find(_END_THINK) if text.startswith(_THINK) else -1
        if end < 0 or text.find("<tool_call>", 0, end) >= 0:
            return self.scan(text)
        said = _RESPONSE.match(text, end + len(_END_THINK))
        calls = () if said else _usual_calls(text, end + len(_END_THINK))
        if calls is None:
            return self.scan(text)
        return Scan(
            spans=(),
            blocks=_RESPONDS if said else _CALLS_TOOLS,
            thought=text[len(_THINK) : end].strip(SPACES),
            calls=calls,
            response=said[1].strip(SPACES) if said else None,
            status=ParseStatus.OK,
            position=None,
            well_formed=True,
            calls_intact=True,
        )

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

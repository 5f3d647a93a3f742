"""The RLLA dialect of ToolRL and ResT.

    <think> Thoughts </think>
    <tool_call>
    {"name": "Tool name", "parameters": {"parameter": "value"}}
    </tool_call>
    <response> The final response </response>

One JSON object a line, any number of them in the block.
"""

import json
import re
from collections.abc import Sequence

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.json_call import CallKeys, scan_call
from toolrest.regions import SCAFFOLDING, Region

_KEYS = CallKeys(name="name", parameters="parameters")
_SPACES = " \t\r\n"
_OPENING = re.compile(r"<(think|tool_call|response)>")
_IMPLICIT_END = re.compile(r"<tool_call>[ \t\r\n]*\{|(?<=\n)<response>")
_CALL_STOP = re.compile(r"\{|</tool_call>|<think>|<response>")
_SPACE = re.compile(r"[ \t\r\n]*")
_CALLS_CLOSE = "</tool_call>"


class _Scanner:
    """One pass over one text. A thought that mentions a tag, or a string in a call that holds one,
    misleads it not: a thought ends at its closing tag, and a call is read as JSON before its
    block's closing tag is looked for.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: list[tuple[int, int, int]] = []
        self.blocks: list[Block] = []
        self.thought: str | None = None
        self.response: str | None = None
        self.calls: list[ToolCall] = []
        self.status = ParseStatus.OK
        self.position: int | None = None
        self.well_formed = True
        self.calls_intact = True

    def defect(self, status: ParseStatus, position: int) -> None:
        if status is not ParseStatus.BAD_CALL:
            self.well_formed = False
        if self.status is ParseStatus.OK:
            self.status, self.position = status, position

    def run(self) -> Scan:
        text = self.text
        at = 0
        while (tag := _OPENING.search(text, at)) is not None:
            self.between(at, tag.start())
            self.spans.append((Region.FORMAT, tag.start(), tag.end()))
            if tag[1] == "think":
                at = self.thought_block(tag.end())
            elif tag[1] == "tool_call":
                at = self.call_block(tag.end())
            else:
                at = self.response_block(tag.end())
        self.between(at, len(text))
        if not self.blocks and self.status is ParseStatus.OK:
            self.status, self.position = ParseStatus.EMPTY, 0
        return Scan(
            spans=self.spans,
            blocks=tuple(self.blocks),
            thought=self.thought,
            calls=tuple(self.calls),
            response=self.response,
            status=self.status,
            position=self.position,
            well_formed=self.well_formed,
            calls_intact=self.calls_intact,
        )

    def between(self, start: int, end: int) -> None:
        """White space between blocks is scaffolding; anything else there is stray."""
        if start == end:
            return
        blank = _SPACE.match(self.text, start, end)
        if blank is not None and blank.end() == end:
            self.spans.append((SCAFFOLDING, start, end))
        else:
            self.defect(ParseStatus.STRAY_TEXT, blank.end() if blank else start)

    def thought_block(self, start: int) -> int:
        self.blocks.append(Block.THOUGHT)
        end, after = self.close("</think>", start)
        if self.thought is None:
            self.thought = self.text[start:end].strip(_SPACES)
        self.spans.append((Region.REASONING, start, end))
        if after > end:
            self.spans.append((Region.FORMAT, end, after))
        return after

    def response_block(self, start: int) -> int:
        self.blocks.append(Block.RESPONSE)
        end, after = self.close("</response>", start)
        if self.response is None:
            self.response = self.text[start:end].strip(_SPACES)
        self.spans.append((Region.RESPONSE, start, end))
        if after > end:
            self.spans.append((Region.FORMAT, end, after))
        return after

    def close(self, tag: str, start: int) -> tuple[int, int]:
        """Where the block's text ends, and where its closing tag does.

        Without a closing tag the text goes on to the next block that certainly is one.
        """
        end = self.text.find(tag, start)
        if end >= 0:
            return end, end + len(tag)
        self.defect(ParseStatus.UNCLOSED, start)
        following = _IMPLICIT_END.search(self.text, start)
        end = following.start() if following else len(self.text)
        return end, end

    def call_defect(self, status: ParseStatus, position: int) -> None:
        self.calls_intact = False
        self.defect(status, position)

    def call_block(self, start: int) -> int:
        text = self.text
        self.blocks.append(Block.CALLS)
        at = start
        while True:
            stop = _CALL_STOP.search(text, at)
            until = stop.start() if stop else len(text)
            if until > at:
                blank = _SPACE.match(text, at, until)
                if blank is not None and blank.end() > at:
                    self.spans.append((SCAFFOLDING, at, blank.end()))
                if blank is None or blank.end() < until:
                    self.call_defect(ParseStatus.BAD_CALL, blank.end() if blank else at)
            if stop is None or stop[0] in ("<think>", "<response>"):
                self.call_defect(ParseStatus.UNCLOSED, start)
                return until
            if stop[0] == _CALLS_CLOSE:
                self.spans.append((Region.FORMAT, until, stop.end()))
                return stop.end()
            scanned = scan_call(text, until, _KEYS)
            self.spans.extend(scanned.spans)
            if scanned.call is not None:
                self.calls.append(scanned.call)
            elif scanned.end == len(text) and not scanned.closed:
                self.call_defect(ParseStatus.UNCLOSED, start)
            else:
                self.call_defect(ParseStatus.BAD_CALL, scanned.end if not scanned.closed else until)
            at = scanned.end


class RLLA(Dialect):
    """Reads and writes the RLLA dialect."""

    name = "rlla"

    def scan(self, text: str) -> Scan:
        return _Scanner(text).run()

    def render(
        self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None
    ) -> str:
        parts = []
        if thought is not None:
            parts.append(f"<think> {thought} </think>")
        if calls:
            lines = [
                json.dumps({"name": c.name, "parameters": c.parameters}, ensure_ascii=False)
                for c in calls
            ]
            parts.append("\n".join(("<tool_call>", *lines, _CALLS_CLOSE)))
        if response is not None:
            parts.append(f"<response> {response} </response>")
        return "\n".join(parts)

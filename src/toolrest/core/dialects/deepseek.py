"""The dialects of DeepSeek V3 and R1, and of V3.1: a section of calls between special tokens.

V3.1:

    <think>Thoughts</think>Text to the user<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_name
    <｜tool▁sep｜>{"parameter": "value"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>

without the line breaks. V3 and R1 write the type of the tool, its name, and the JSON in a fence:

    <｜tool▁call▁begin｜>function<｜tool▁sep｜>tool_name
    ```json
    {"parameter": "value"}
    ```<｜tool▁call▁end｜>

Each dialect reads both forms and writes its own. The templates of V3, R1 and R1's distilled models
end a section after its second call only, so `deepseek_v3` reads one call of its own form whose
section ends with the text. A prompt of V3.1 ends with `<think>`, or with
`</think>` alone where the policy is told not to think: a text that begins so has an empty thought.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from toolrest.core.dialects.base import Scan, ToolCall
from toolrest.core.dialects.json_call import dump
from toolrest.core.dialects.scanning import ScannedDialect, either, write_thought
from toolrest.core.dialects.token_calls import Marks, TokenCalls
from toolrest.core.dialects.types import Tools
from toolrest.core.regions import SCAFFOLDING, Region

_MARKS = Marks(
    section="<｜tool▁calls▁begin｜>",
    call="<｜tool▁call▁begin｜>",
    end_call="<｜tool▁call▁end｜>",
    end_section="<｜tool▁calls▁end｜>",
)
_SEPARATOR = "<｜tool▁sep｜>"
_TYPE = "function"
"""What V3's and R1's templates write before the separator, as the type of every tool."""
_HEAD = re.compile(rf"[ \t\r\n]*+([^<\r\n]*+)[ \t\r\n]*+({either(_SEPARATOR)})?")
_BARE = re.compile(r"[ \t\r\n]*+\{")
_FENCED = re.compile(r"[ \t]*+([^<`\r\n]*+)[ \t\r\n]*+(```json)?")
_END_FENCE = re.compile(r"[ \t\r\n]*+(`{0,3}+)[ \t\r\n]*+")


class _Scanner(TokenCalls):
    marks = _MARKS

    def __init__(self, text: str, *, fenced: bool) -> None:
        super().__init__(text)
        self.fenced = fenced
        """Whether a call that is cut after its first word is taken for one of V3."""
        self.fence = fenced
        """Whether the last call is one of V3."""

    def call(self, start: int, block: int) -> int:
        text = self.text
        head = _HEAD.match(text, start)
        assert head is not None  # every part of the pattern may be empty
        begin, end = head.span(1)
        cut = head[2] is None or head.end() == len(text)
        # any other word is a name, whatever follows: what it decides is not taken back
        self.fence = head[1].strip() == _TYPE and (
            self.fenced if cut else _BARE.match(text, head.end()) is None
        )
        self.mark(SCAFFOLDING, start, begin)
        self.mark(SCAFFOLDING if self.fence else Region.NAME, begin, end)
        self.mark(Region.FORMAT, end, head.end())
        if head[2] is None:
            return self.broken(head.end(), block)
        if not self.fence:
            return self.parameters(head[1], head.end(), block)
        fence = _FENCED.match(text, head.end())
        assert fence is not None  # likewise
        self.mark(SCAFFOLDING, head.end(), fence.start(1))
        self.mark(Region.NAME, fence.start(1), fence.end(1))
        self.mark(SCAFFOLDING, fence.end(1), fence.end())
        if fence[2] is None:
            return self.broken(fence.end(), block)
        return self.parameters(fence[1], fence.end(), block)

    def ends_alone(self, calls: int) -> bool:
        return self.fenced and self.fence and calls == 1

    def tail(self, start: int) -> int | None:
        if not self.fence:
            return super().tail(start)
        end = _END_FENCE.match(self.text, start)
        if end is None or (end[1] != "```" and end.end() < len(self.text)):
            return None
        self.mark(SCAFFOLDING, start, end.end())
        return end.end()


class DeepSeekV31(ScannedDialect):
    """Reads and writes the dialect of DeepSeek V3.1."""

    name = "deepseek_v3_1"
    special_tokens = (
        *("<think>", "</think>", _MARKS.section, _MARKS.call, _SEPARATOR),
        *(_MARKS.end_call, _MARKS.end_section),
    )
    certain_call = _MARKS.certain
    fenced: ClassVar[bool] = False
    """Whether it writes the form of V3."""

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text, fenced=self.fenced).run()

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        thinks = "" if thought is None else f"<think>{thought}</think>"
        written = [f"{call.name}{_SEPARATOR}{dump(call.parameters)}" for call in calls]
        return thinks + (response or "") + _section(written, "")


class DeepSeekV3(DeepSeekV31):
    """Reads and writes the dialect of DeepSeek V3 and R1."""

    name = "deepseek_v3"
    fenced = True

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = [
            f"{_TYPE}{_SEPARATOR}{call.name}\n```json\n{dump(call.parameters)}\n```"
            for call in calls
        ]
        return write_thought(thought) + (response or "") + _section(written, "\n")


def _section(calls: Sequence[str], between: str) -> str:
    if not calls:
        return ""
    written = between.join(f"{_MARKS.call}{call}{_MARKS.end_call}" for call in calls)
    return f"{_MARKS.section}{written}{_MARKS.end_section}"

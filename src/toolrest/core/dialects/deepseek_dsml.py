"""The dialects of DeepSeek V3.2 and V4: calls as DSML tags, which say whether a value is a string.

    <think>Thoughts</think>Text to the user

    <｜DSML｜function_calls>
    <｜DSML｜invoke name="tool_name">
    <｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>
    <｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
    </｜DSML｜invoke>
    </｜DSML｜function_calls>

V4 names the block `tool_calls`, V4.1 ` calls`, and puts a space before every tag's name. Each
dialect reads all three and writes its own. A string stands as it is, anything else as JSON. A value
cannot hold a tag of DSML: where one lacks its end, it would swallow the next.

Source: deepseek-ai/DeepSeek-V3.2, encoding/encoding_dsv32.py, and its successors.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from toolrest.core.dialects.base import Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import UNREADABLE, dump, load
from toolrest.core.dialects.scanning import FORMAT, ScannedDialect, Scanning, either
from toolrest.core.regions import SCAFFOLDING, Region

_DSML = "｜DSML｜"
_OPEN, _CLOSE = either(f"<{_DSML}"), either(f"</{_DSML}")
_BLOCK = " ?(?:function_calls|tool_calls|calls)>"
_CERTAIN = re.compile(f"{_OPEN}{_BLOCK}")
_OPENING = re.compile(f"{_OPEN}{_BLOCK}|(?={_OPEN} ?invoke)")
_STEP = re.compile(f"({_OPEN} ?invoke)|({_CLOSE}{_BLOCK})|{_OPEN}|{_CLOSE}")
_NAME = re.compile(r' name="([^"<>\n]*+)(">)?')
_PARAMETER = re.compile(
    rf"{_OPEN} ?parameter"
    r'(?: name="([^"<>\n]*+)(?:"(?: string="(?:(true|false)(?:"(>)?)?)?)?)?)?'
)
_TAG = re.compile(f"({_CLOSE} ?parameter>)|{_OPEN}|{_CLOSE}")
_END_INVOKE = re.compile(f"{_CLOSE} ?invoke>")
_BETWEEN = re.compile(f'(?:[ \\t\\r\\n]|{_OPEN} ?invoke name="[^"<>\\n]*+">|{_CLOSE} ?invoke>)*+')


class _Scanner(Scanning):
    def run(self) -> Scan:
        start = self.leading_thought("<think>", "</think>", _CERTAIN)
        return self.turn(start, _OPENING, self.block)

    def value_at(self, start: int) -> tuple[int, bool]:
        """The parameters that follow the start of a block, with all that stands between them."""
        at, said = start + 1, False
        while True:
            between = _BETWEEN.match(self.text, at)
            head = _PARAMETER.match(self.text, between.end() if between else at)
            if head is None or head[3] is None:
                return at, said
            tag = _TAG.search(self.text, head.end())
            if tag is None or tag[1] is None:
                return (tag.start(), said) if tag else (len(self.text), True)
            at, said = tag.end(), True

    def block(self, opening: re.Match[str]) -> int:
        """Scan the calls of a block; return the block's end."""
        self.open_block(Block.CALLS)
        start, whole = opening.end(), bool(opening[0])
        at, calls = start, 0
        while True:
            step = _STEP.search(self.text, at)
            until = step.start() if step else len(self.text)
            self.junk(at, until)
            if step is None:
                self.call_defect(ParseStatus.UNCLOSED, start)
                return until
            self.mark(FORMAT, until, step.end())
            at = step.end()
            if step[2] is not None:
                if not (whole and calls):
                    self.call_defect(ParseStatus.BAD_CALL, start)
                return at
            if step[1] is None:
                self.call_defect(ParseStatus.BAD_CALL, until)
            else:
                calls += 1
                at = self.invoke(at, start)

    def invoke(self, start: int, block: int) -> int:
        """Scan one call after the start of its tag; return where it ends or breaks."""
        text = self.text
        name = _NAME.match(text, start)
        if name is None:
            return self.broken(start, block)
        self.mark(SCAFFOLDING, start, name.start(1))
        self.mark(Region.NAME, name.start(1), name.end(1))
        self.mark(SCAFFOLDING, name.end(1), name.end())
        if name[2] is None:
            return self.broken(name.end(), block)
        at, parameters = self.parameters(name.end(), block)
        if parameters is None:
            return at
        at = self.blank(at, len(text))
        end = _END_INVOKE.match(text, at)
        if end is None:
            return self.broken(at, block)
        self.mark(SCAFFOLDING, at, end.end())
        self.calls.append(ToolCall(name[1], parameters))
        return end.end()

    def parameters(self, start: int, block: int) -> tuple[int, dict[str, Any] | None]:
        """(end of the parameters, parameters or None where they are broken).

        All of them are one span, white space between them included.
        """
        text = self.text
        found: dict[str, Any] = {}
        begin = end = at = self.blank(start, len(text))
        while (head := _PARAMETER.match(text, at)) is not None:
            tag = _TAG.search(text, head.end())
            stop = tag.start() if tag else len(text)
            if head[3] is None or tag is None or tag[1] is None:
                self.mark(Region.PARAMETERS, begin, stop)
                return self.broken(stop, block), None
            value = text[head.end() : stop]
            try:
                found[head[1]] = value if head[2] == "true" else load(value)
            except UNREADABLE:
                self.mark(Region.PARAMETERS, begin, tag.end())
                self.call_defect(ParseStatus.BAD_CALL, head.end())
                return tag.end(), None
            end = tag.end()
            at = self.skip(end)
        self.mark(Region.PARAMETERS, begin, end)
        return end, found


class DeepSeekV32(ScannedDialect):
    """Reads and writes the dialect of DeepSeek V3.2."""

    name = "deepseek_v3_2"
    special_tokens = ("<think>", "</think>", _DSML)
    scanner = _Scanner
    certain_call = _CERTAIN
    tags: ClassVar[tuple[str, str, str]] = ("function_calls", "invoke", "parameter")
    """The names of the tags that it writes."""

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        block, invoke, parameter = (_DSML + tag for tag in self.tags)
        lines = [f"<{block}>"]
        for call in calls:
            lines.append(f'<{invoke} name="{call.name}">')
            for name, value in call.parameters.items():
                said = isinstance(value, str)
                lines.append(
                    f'<{parameter} name="{name}" string="{str(said).lower()}">'
                    f"{value if said else dump(value)}</{parameter}>"
                )
            lines.append(f"</{invoke}>")
        lines.append(f"</{block}>")
        thinks = "" if thought is None else f"<think>{thought}</think>"
        return thinks + (response or "") + ("\n\n" + "\n".join(lines) if calls else "")


class DeepSeekV4(DeepSeekV32):
    """Reads and writes the dialect of DeepSeek V4."""

    name = "deepseek_v4"
    tags = ("tool_calls", "invoke", "parameter")


class DeepSeekV41(DeepSeekV32):
    """Reads and writes the dialect of DeepSeek V4.1."""

    name = "deepseek_v4_1"
    tags = (" calls", " invoke", " parameter")

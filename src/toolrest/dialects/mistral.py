"""The dialect of Mistral's instruction models: one JSON list of calls after `[TOOL_CALLS]`.

    [THINK]Thoughts[/THINK]Text to the user[TOOL_CALLS][{"name": "tool_name", "arguments": {..}}]

Further keys of a call, such as its id, are read over.
"""

import re
from collections.abc import Sequence

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.json_call import CallKeys, dump_call, scan_call
from toolrest.dialects.scanning import Scanning, empty_thought
from toolrest.dialects.types import Tools
from toolrest.regions import SCAFFOLDING, Region

_KEYS = CallKeys(name="name", parameters="arguments")
_OPENING = "[TOOL_CALLS]"
_THINK, _END_THINK = "[THINK]", "[/THINK]"
_CERTAIN_CALL = re.compile(r"\[TOOL_CALLS\][ \t\r\n]*\[")
_LIST_MARK = re.compile(r"[\[\]{,]")


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = self.leading_thought(_THINK, _END_THINK, _CERTAIN_CALL)
        tag = text.find(_OPENING, at)
        self.free_response(at, tag if tag >= 0 else len(text))
        if tag >= 0:
            self.mark(Region.FORMAT, tag, tag + len(_OPENING))
            end = self.call_list(tag + len(_OPENING))
            self.stray(end, len(text))
        return self.result()

    def call_list(self, start: int) -> int:
        """The list; where it ends. Every call but the first follows one comma."""
        text = self.text
        self.open_block(Block.CALLS)
        at = self.blank(start, len(text))
        if not text.startswith("[", at):
            self.call_defect(ParseStatus.BAD_CALL if at < len(text) else ParseStatus.UNCLOSED, at)
            return at
        self.mark(SCAFFOLDING, at, at + 1)
        at += 1
        due = True
        while (mark := _LIST_MARK.search(text, at)) is not None:
            self.junk(at, mark.start())
            is_call = mark[0] == "{"
            if mark[0] in "[}" or due != is_call:
                self.call_defect(ParseStatus.BAD_CALL, mark.start())
            if is_call:
                scanned = scan_call(text, mark.start(), _KEYS)
                self.take_call(scanned, mark.start(), start)
                at, due = scanned.end, False
                continue
            self.mark(SCAFFOLDING, mark.start(), mark.end())
            at, due = mark.end(), mark[0] == ","
            if mark[0] == "]":
                return at
        self.junk(at, len(text))
        self.call_defect(ParseStatus.UNCLOSED, start)
        return len(text)


class Mistral(Dialect):
    """Reads and writes the dialect of Mistral's instruction models."""

    name = "mistral"
    special_tokens = (_OPENING, _THINK, _END_THINK)

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text, _THINK, _END_THINK)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        text = "" if thought is None else f"{_THINK}{thought}{_END_THINK}"
        text += response or ""
        if calls:
            text += f"{_OPENING}[{', '.join(dump_call(call, _KEYS) for call in calls)}]"
        return text

"""The dialect of Llama 3: a call is a bare JSON object, or one after `<|python_tag|>`.

    {"name": "tool_name", "parameters": {"parameter": "value"}}; {"name": ..}

A reply is either calls, separated by semicolons, or text to the user, such as a JSON object that
names no tool. A thought between `<think>`
tags may come first, for policies that were taught to think.
"""

import re
from collections.abc import Sequence

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.json_call import CallKeys, dump_call, scan_call
from toolrest.dialects.scanning import Scanning, empty_thought, write_thought
from toolrest.dialects.types import Tools
from toolrest.regions import SCAFFOLDING, Region

_KEYS = CallKeys(name="name", parameters="parameters")
_PYTHON_TAG = "<|python_tag|>"
_CERTAIN_CALL = re.compile(re.escape(_PYTHON_TAG))
_CALL_OR_SEPARATOR = re.compile(r"[{;]")


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = 0
        if not self.names_tool(at):
            at = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        at = self.blank(at, len(text))
        tag = text.find(_PYTHON_TAG, at)
        if self.names_tool(at):
            self.call_list(at)
        elif tag >= 0:
            self.free_response(at, tag)
            self.mark(Region.FORMAT, tag, tag + len(_PYTHON_TAG))
            self.call_list(tag + len(_PYTHON_TAG))
        else:
            self.free_response(at, len(text))
        return self.result()

    def names_tool(self, at: int) -> bool:
        """Whether an object stands there that names a tool; any other is text to the user."""
        begin = self.skip(at)
        return self.text.startswith("{", begin) and any(
            code == Region.NAME for code, _, _ in scan_call(self.text, begin, _KEYS).spans
        )

    def call_list(self, start: int) -> None:
        """Calls up to the end of the text."""
        self.open_block(Block.CALLS)
        at, due = start, True
        while (mark := _CALL_OR_SEPARATOR.search(self.text, at)) is not None:
            self.junk(at, mark.start())
            if mark[0] == ";":
                if due:
                    self.call_defect(ParseStatus.BAD_CALL, mark.start())
                self.mark(SCAFFOLDING, mark.start(), mark.end())
                at, due = mark.end(), True
                continue
            scanned = scan_call(self.text, mark.start(), _KEYS)
            self.take_call(scanned, mark.start(), start)
            at, due = scanned.end, False
        self.junk(at, len(self.text))
        if due:
            self.call_defect(ParseStatus.UNCLOSED, start)


class Llama3(Dialect):
    """Reads and writes the dialect of Llama 3."""

    name = "llama3"
    special_tokens = (_PYTHON_TAG,)

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = "; ".join(dump_call(call, _KEYS) for call in calls)
        if response and calls:
            written = f"{response}{_PYTHON_TAG}{written}"
        return write_thought(thought) + (written or response or "")

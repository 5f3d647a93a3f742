"""The dialect of Llama 3: a call is a bare JSON object, or one after `<|python_tag|>`.

    {"name": "tool_name", "parameters": {"parameter": "value"}}; {"name": ..}

A reply is either calls, separated by semicolons, or text to the user, such as a JSON object that
names no tool. A thought between `<think>` tags may come first, for policies that were taught to
think. The calls of built-in tools, `<|python_tag|>tool.call(..)`, are not read.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import UNREADABLE, CallKeys, dump_call, load, scan_call
from toolrest.core.dialects.scanning import ScannedDialect, Scanning, write_thought
from toolrest.core.regions import SCAFFOLDING, Region

_KEYS = CallKeys(name="name", parameters="parameters")
_CALL_KEYS = frozenset(("type", "id", "name", "arguments"))
"""Keys that a broken call may have, and data with a name has not alone."""
_PYTHON_TAG = "<|python_tag|>"
_CERTAIN_CALL = re.compile(
    r"<\|python_tag\|>(?:[ \t\r\n]*+\{)?|(?<=\n)\{(?=[ \t\r\n]*+\"name\"[ \t\r\n]*+:)"
)
_CALL_OR_SEPARATOR = re.compile(r"[{;]")


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = 0
        calls = self.is_call(self.skip(0))
        if not calls:
            at = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        at = self.blank(at, len(text))
        if calls or self.is_call(at):
            self.call_list(at)
        elif (tag := text.find(_PYTHON_TAG, at)) >= 0:
            self.free_response(at, tag)
            self.mark(Region.FORMAT, tag, tag + len(_PYTHON_TAG))
            self.call_list(tag + len(_PYTHON_TAG))
        else:
            self.free_response(at, len(text))
        return self.result()

    def is_call(self, at: int) -> bool:
        """Whether an object stands there that is a call, or where it is broken might be one. One
        that names no tool is text to the user, and so is one with a name among keys of its own.
        """
        if not self.text.startswith("{", at):
            return False
        scanned = scan_call(self.text, at, _KEYS)
        if scanned.call is not None:
            return True
        regions = {code for code, _, _ in scanned.spans}
        if Region.NAME not in regions:
            return not scanned.closed and scanned.end == len(self.text)
        if not scanned.closed or Region.PARAMETERS in regions:
            return True
        try:
            return load(self.text[at : scanned.end]).keys() <= _CALL_KEYS
        except UNREADABLE:
            return True

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


class Llama3(ScannedDialect):
    """Reads and writes the dialect of Llama 3."""

    name = "llama3"
    special_tokens = (_PYTHON_TAG,)
    stop_tokens = ("<|eot_id|>", "<|eom_id|>")
    scanner = _Scanner
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = "; ".join(dump_call(call, _KEYS) for call in calls)
        if response and calls:
            written = f"{response}{_PYTHON_TAG}{written}"
        return write_thought(thought) + (written or response or "")

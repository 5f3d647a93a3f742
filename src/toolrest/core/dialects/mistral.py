"""The dialects of Mistral's instruction models.

Up to version 7 of the tokenizer one JSON list of calls after `[TOOL_CALLS]`:

    [THINK]Thoughts[/THINK]Text to the user[TOOL_CALLS][{"name": "tool_name", "arguments": {..}}]

from version 11 on each call by itself, in version 11 with an id:

    [TOOL_CALLS]tool_name[ARGS]{"parameter": "value"}[TOOL_CALLS]tool_name[CALL_ID]id[ARGS]{..}

Each dialect reads both forms and writes its own, without ids. Ids and further keys of a call are
read over. The thoughts of Magistral of version 11 stand between `<think>` tags and are read too.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import CallKeys, dump, dump_call, scan_call
from toolrest.core.dialects.scanning import FORMAT, ScannedDialect, Scanning
from toolrest.core.regions import SCAFFOLDING, Region

_KEYS = CallKeys(name="name", parameters="arguments")
_OPENING, _ARGUMENTS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_THINK, _END_THINK = "[THINK]", "[/THINK]"
_CERTAIN_CALL = re.compile(
    r"\[TOOL_CALLS\](?:[ \t\r\n]*+\[|[^\[]++(?:\[CALL_ID\][^\[]*+)?\[ARGS\][ \t\r\n]*+\{)"
)
_LIST_MARK = re.compile(r"[\[\]{,]")
_HEAD = re.compile(r"([^\[{\r\n]*+)(?:\[CALL_ID\][^\[]*+)?(\[ARGS\])?")


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = self.skip(0)
        marks = ("<think>", "</think>") if text.startswith("<think>", at) else (_THINK, _END_THINK)
        at = self.leading_thought(*marks, _CERTAIN_CALL)
        tag = text.find(_OPENING, at)
        self.free_response(at, tag if tag >= 0 else len(text))
        while tag >= 0:
            self.mark(FORMAT, tag, tag + len(_OPENING))
            at, last = self.calls_after(tag + len(_OPENING))
            tag = -1 if last else text.find(_OPENING, at)
            self.stray(at, tag if tag >= 0 else len(text))
        return self.result()

    def calls_after(self, start: int) -> tuple[int, bool]:
        """What follows one opening mark; where it ends, and whether nothing may follow."""
        text = self.text
        self.open_block(Block.CALLS)
        at = self.blank(start, len(text))
        if at == len(text):
            self.call_defect(ParseStatus.UNCLOSED, start)
            return at, True
        if text[at] == "[" and not text.startswith((_ARGUMENTS, _ID, _OPENING), at):
            return self.call_list(at, start), True
        head = _HEAD.match(text, at)
        if head is None or not head[1]:
            return self.broken(at, start), False
        self.mark(Region.NAME, *head.span(1))
        self.mark(FORMAT, head.end(1), head.end())
        if head[2] is None:
            return self.broken(head.end(), start), False
        parameters, at = self.parameters_object(head.end(), start)
        if parameters is not None:
            self.calls.append(ToolCall(head[1], parameters))
        return at, False

    def call_list(self, begin: int, start: int) -> int:
        """The list whose bracket is at `begin`; where it ends. Every call but the first follows one
        comma.
        """
        text = self.text
        self.mark(SCAFFOLDING, begin, begin + 1)
        at, due = begin + 1, True
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


class Mistral(ScannedDialect):
    """Reads and writes the dialect of Mistral's models up to version 7."""

    name = "mistral"
    special_tokens = (_OPENING, _ARGUMENTS, _ID, _THINK, _END_THINK)
    thought_marks = (_THINK, _END_THINK)
    scanner = _Scanner
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        listed = ", ".join(dump_call(call, _KEYS) for call in calls)
        return _before(thought, response) + (f"{_OPENING}[{listed}]" if calls else "")


class MistralV11(Mistral):
    """Reads and writes the dialect of Mistral's models from version 11 on."""

    name = "mistral_v11"

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = (f"{_OPENING}{call.name}{_ARGUMENTS}{dump(call.parameters)}" for call in calls)
        return _before(thought, response) + "".join(written)


def _before(thought: str | None, response: str | None) -> str:
    return ("" if thought is None else f"{_THINK}{thought}{_END_THINK}") + (response or "")

"""The dialect of FunctionGemma.

    Text to the user<start_function_call>call:tool_name{parameter:<escape>value<escape>,other:1}
    <end_function_call>

without a line break between. See `toolrest.core.dialects.braces` for the values. A thought between
`<think>` tags may come first, for policies that were taught to think.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Scan, ToolCall
from toolrest.core.dialects.braces import BraceCalls, BraceMarks, write_calls
from toolrest.core.dialects.scanning import ScannedDialect, write_thought

_MARKS = BraceMarks("<start_function_call>", "<end_function_call>", "<escape>")
_OPENING = re.compile(_MARKS.opening)


class _Scanner(BraceCalls):
    marks = _MARKS

    def run(self) -> Scan:
        start = self.leading_thought("<think>", "</think>", _MARKS.certain_call)
        return self.turn(start, _OPENING, self.call)


class FunctionGemma(ScannedDialect):
    """Reads and writes the dialect of FunctionGemma."""

    name = "functiongemma"
    special_tokens = (_MARKS.opening, _MARKS.closing, _MARKS.string)
    stop_tokens = ("<end_of_turn>", "<start_function_response>")
    calls_end = "<start_function_response>"
    scanner = _Scanner

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        return write_thought(thought) + (response or "") + write_calls(calls, _MARKS)

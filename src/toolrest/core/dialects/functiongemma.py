"""The dialect of FunctionGemma.

    Text to the user<start_function_call>call:tool_name{parameter:<escape>value<escape>,other:1}
    <end_function_call>

without a line break between. See `toolrest.core.dialects.braces` for the values. A thought between
`<think>` tags may come first, for policies that were taught to think.
"""

from collections.abc import Sequence

from toolrest.core.dialects.base import Dialect, Scan, ToolCall
from toolrest.core.dialects.braces import BraceCalls, BraceMarks, write_calls
from toolrest.core.dialects.scanning import empty_thought, write_thought
from toolrest.core.dialects.types import Tools

_MARKS = BraceMarks("<start_function_call>", "<end_function_call>", "<escape>")


class _Scanner(BraceCalls):
    def run(self) -> Scan:
        at = self.leading_thought("<think>", "</think>", _MARKS.certain_call)
        while (tag := self.find(_MARKS.opening, at)) >= 0:
            self.free_response(at, tag)
            at = self.call(tag)
        self.free_response(at, len(self.text))
        return self.result()


class FunctionGemma(Dialect):
    """Reads and writes the dialect of FunctionGemma."""

    name = "functiongemma"
    special_tokens = (_MARKS.opening, _MARKS.closing, _MARKS.string)
    stop_tokens = ("<end_of_turn>", "<start_function_response>")
    calls_end = "<start_function_response>"

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text, _MARKS).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        return write_thought(thought) + (response or "") + write_calls(calls, _MARKS)

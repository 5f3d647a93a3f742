"""The dialect of ToolACE, Llama 3.2 and Llama 4: a list of Python calls.

    [tool_name(parameter="value", other=1), other_tool()]

See python_calls.py for the values. A reply is either such a list, which Llama 4
may put between `<|python_start|>` and `<|python_end|>`, or text to the user. A thought between
`<think>` tags may come first.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Block, Scan, ToolCall
from toolrest.core.dialects.python_calls import NAME, PythonCalls
from toolrest.core.dialects.scanning import ScannedDialect, write_thought
from toolrest.core.regions import SCAFFOLDING, Region

_START, _END = "<|python_start|>", "<|python_end|>"
_LIST = re.compile(
    rf"((?:{re.escape(_START)})?+)[ \t\r\n]*+\[[ \t\r\n]*+(?=(?:{NAME})?+(?:\(|\Z))",
)
_CERTAIN_CALL = re.compile(rf"(?<=\n)\[{NAME}\(")


class _Scanner(PythonCalls):
    def run(self) -> Scan:
        text = self.text
        at = 0
        if _LIST.match(text, self.skip(0)) is None:
            at = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        at = self.blank(at, len(text))
        opening = _LIST.match(text, at)
        if opening is None:
            self.free_response(at, len(text))
        else:
            self.mark(Region.FORMAT, at, opening.end(1))
            self.mark(SCAFFOLDING, opening.end(1), opening.end())
            self.open_block(Block.CALLS)
            end = self.call_list(opening.end(), at)
            closing = self.skip(end)
            if opening[1] and text.startswith(_END, closing):
                end = self.blank(end, closing)
                self.mark(Region.FORMAT, end, end + len(_END))
                end += len(_END)
            self.stray(end, len(text))
        return self.result()


class Pythonic(ScannedDialect):
    """Reads and writes lists of Python calls."""

    name = "pythonic"
    stop_tokens = ("<|eot|>", "<|eom|>")
    scanner = _Scanner
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = ", ".join(
            f"{c.name}({', '.join(f'{k}={v!r}' for k, v in c.parameters.items())})" for c in calls
        )
        listed = f"[{written}]" if calls else ""
        return write_thought(thought) + (response or "") + listed

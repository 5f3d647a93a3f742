"""The dialect of Gemma 4 and DiffusionGemma.

    <|channel>thought
    Thoughts
    <channel|>Text to the user<|tool_call>call:tool_name{parameter:<|"|>value<|"|>}<tool_call|>

See braces.py for the values. Each call has marks of its own. Text may stand before
or after calls (the templates write what they find beside calls after them), and a thought anywhere.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.braces import BraceCalls, BraceMarks, write_calls
from toolrest.core.dialects.scanning import FORMAT, ScannedDialect

_THOUGHT, _END_THOUGHT = "<|channel>thought", "<channel|>"
_MARKS = BraceMarks("<|tool_call>", "<tool_call|>", '<|"|>', others=("<|channel>",))
_CHANNEL = re.compile(r"<\|channel>(?:thought)?+")
_BLOCK = re.compile(rf"{_CHANNEL.pattern}|<\|tool_call>")


class _Scanner(BraceCalls):
    marks = _MARKS

    def run(self) -> Scan:
        text, at = self.text, 0
        if _CHANNEL.match(text, self.skip(0)) is None:
            at = self.leading_thought(_THOUGHT, _END_THOUGHT, _MARKS.certain_call)
        return self.turn(
            at, _BLOCK, lambda tag: (self.call if tag[0] == _MARKS.opening else self.channel)(tag)
        )

    def channel(self, opening: re.Match[str]) -> int:
        """The thought that a mark begins; where it ends. Without an end it goes on, a leading one
        to the next call.
        """
        start = opening.end()
        end = self.find(_END_THOUGHT, start)
        after = end + len(_END_THOUGHT)
        if end < 0:
            self.defect(ParseStatus.UNCLOSED, start)
            call = None if self.blocks else _MARKS.certain_call.search(self.text, start)
            end = after = call.start() if call else len(self.text)
        self.open_block(Block.THOUGHT)
        self.thought_text(start, end)
        self.mark(FORMAT, end, after)
        return after


class Gemma4(ScannedDialect):
    """Reads and writes the dialect of Gemma 4."""

    name = "gemma4"
    special_tokens = ("<|channel>", _END_THOUGHT, _MARKS.opening, _MARKS.closing, _MARKS.string)
    stop_tokens = ("<turn|>", "<|tool_response>")
    calls_end = "<|tool_response>"
    thought_marks = (_THOUGHT, _END_THOUGHT)
    scanner = _Scanner

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        text = "" if thought is None else f"{_THOUGHT}\n{thought}\n{_END_THOUGHT}"
        return text + (response or "") + write_calls(calls, _MARKS)

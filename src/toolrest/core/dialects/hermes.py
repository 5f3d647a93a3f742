"""The dialect of Qwen2.5 and Qwen3 (NousResearch's Hermes format).

    <think>
    Thoughts
    </think>

    Text to the user
    <tool_call>
    {"name": "tool_name", "arguments": {"parameter": "value"}}
    </tool_call>

One call a block. The thought is optional, and where the chat template has opened it already the
reply starts inside it.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Scan, ToolCall
from toolrest.core.dialects.json_block import JsonBlock
from toolrest.core.dialects.json_call import CallKeys, dump_call
from toolrest.core.dialects.scanning import ScannedDialect, Scanning, write_thought

_KEYS = CallKeys(name="name", parameters="arguments")
_CALL = JsonBlock(_KEYS, "</tool_call>", interrupts=("<tool_call>",), most_calls=1)
_OPENING = re.compile("<tool_call>")
_CERTAIN_CALL = re.compile(r"<tool_call>[ \t\r\n]*\{")


class _Scanner(Scanning):
    def run(self) -> Scan:
        start = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        return self.turn(start, _OPENING, lambda tag: _CALL.scan(self, tag.end()))


class Hermes(ScannedDialect):
    """Reads and writes the dialect of Qwen2.5 and Qwen3."""

    name = "hermes"
    special_tokens = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    stop_tokens = ("<|im_end|>",)
    scanner = _Scanner
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        blocks = [f"<tool_call>\n{dump_call(call, _KEYS)}\n</tool_call>" for call in calls]
        return write_thought(thought) + "\n".join(([response] if response else []) + blocks)

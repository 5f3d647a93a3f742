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

from toolrest.core.dialects.base import Dialect, Scan, ToolCall
from toolrest.core.dialects.json_block import JsonBlock
from toolrest.core.dialects.json_call import CallKeys, dump_call
from toolrest.core.dialects.scanning import Scanning, empty_thought, write_thought
from toolrest.core.dialects.types import Tools
from toolrest.core.regions import Region

_KEYS = CallKeys(name="name", parameters="arguments")
_CALL = JsonBlock(_KEYS, "</tool_call>", interrupts=("<tool_call>",), most_calls=1)
_OPENING = "<tool_call>"
_CERTAIN_CALL = re.compile(r"<tool_call>[ \t\r\n]*\{")


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        while (tag := text.find(_OPENING, at)) >= 0:
            self.free_response(at, tag)
            self.mark(Region.FORMAT, tag, tag + len(_OPENING))
            at = _CALL.scan(self, tag + len(_OPENING))
        self.free_response(at, len(text))
        return self.result()


class Hermes(Dialect):
    """Reads and writes the dialect of Qwen2.5 and Qwen3."""

    name = "hermes"
    special_tokens = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    stop_tokens = ("<|im_end|>",)

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text, following=_CERTAIN_CALL)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        blocks = [f"{_OPENING}\n{dump_call(call, _KEYS)}\n</tool_call>" for call in calls]
        return write_thought(thought) + "\n".join(([response] if response else []) + blocks)

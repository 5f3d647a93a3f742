"""The dialect of MiniMax M2: calls as nested tags with their names in quotes.

    <think>
    Thoughts
    </think>

    Text to the user
    <minimax:tool_call>
    <invoke name="tool_name">
    <parameter name="parameter">value</parameter>
    </invoke>
    </minimax:tool_call>

Any number of calls a block; see `toolrest.core.dialects.tagged` for their values.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Dialect, Scan, ToolCall
from toolrest.core.dialects.scanning import empty_thought, write_thought
from toolrest.core.dialects.tagged import TaggedText, invokes, write_invoke
from toolrest.core.dialects.types import Tools, declared

_OPENING, _CLOSING = "<minimax:tool_call>", "</minimax:tool_call>"
_BLOCK = invokes(_OPENING, _CLOSING)
_CERTAIN_CALL = re.compile(rf'{_OPENING}[ \t\r\n]*+<invoke name="')


class MiniMax(Dialect):
    """Reads and writes the dialect of MiniMax M2."""

    name = "minimax"
    special_tokens = ("<think>", "</think>", _OPENING, _CLOSING)
    stop_tokens = ("[e~[",)
    reads_types = True

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return TaggedText(text).run(_BLOCK, _CERTAIN_CALL, declared(tools))

    def without_thought(self, text: str) -> str:
        return empty_thought(text)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        text = write_thought(thought) + (response or "")
        if not calls:
            return text
        return "\n".join([text, _OPENING, *map(write_invoke, calls), _CLOSING])

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

from toolrest.core.dialects.base import ToolCall
from toolrest.core.dialects.scanning import write_thought
from toolrest.core.dialects.tagged import TaggedDialect, invokes, write_invoke

_OPENING, _CLOSING = "<minimax:tool_call>", "</minimax:tool_call>"
_BLOCK = invokes(_OPENING, _CLOSING)
_CERTAIN_CALL = re.compile(rf'{_OPENING}[ \t\r\n]*+<invoke name="')


class MiniMax(TaggedDialect):
    """Reads and writes the dialect of MiniMax M2."""

    name = "minimax"
    special_tokens = ("<think>", "</think>", _OPENING, _CLOSING)
    stop_tokens = ("[e~[",)
    block = _BLOCK
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        text = write_thought(thought) + (response or "")
        if not calls:
            return text
        return "\n".join([text, _OPENING, *map(write_invoke, calls), _CLOSING])

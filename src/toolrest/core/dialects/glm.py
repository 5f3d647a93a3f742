"""The dialect of GLM-4.5 and later: calls as a name, then keys and values in tags.

    <think>Thoughts</think>
    Text to the user
    <tool_call>tool_name
    <arg_key>parameter</arg_key>
    <arg_value>value</arg_value>
    </tool_call>

GLM-4.7 writes the same without the line breaks. One call a block; see tagged.py
for its values. Where a prompt asks not to think (`/nothink`), it ends with an empty thought.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import ToolCall
from toolrest.core.dialects.tagged import TagBlock, TaggedDialect, written

_NAME = r'[^<>{}\[\]" \t\r\n][^<>{}\[\]"\r\n]*+'
"""What JSON starts with is no name: models that were trained on JSON calls fall back to them."""
_BLOCK = TagBlock(
    opening="<tool_call>",
    closing="</tool_call>",
    call=re.compile(rf"({_NAME})([ \t\r]*+\n|(?=<))?"),
    call_start="",
    call_end="</tool_call>",
    parameter=re.compile(r"<arg_key>([^<>]*+)(?:</arg_key>[ \t\r\n]*+(<arg_value>)?)?"),
    value_end="</arg_value>",
    inner=("<arg_key>", "</arg_key>", "<arg_value>"),
)
_CERTAIN_CALL = re.compile(rf"<tool_call>[ \t\r\n]*+{_NAME}[ \t\r\n]*+(?:<arg_key>|</tool_call>)")


class GLM(TaggedDialect):
    """Reads the dialect of GLM-4.5 and later, and writes that of GLM-4.5 and GLM-4.6."""

    name = "glm"
    special_tokens = (
        *("<think>", "</think>", "<tool_call>", "</tool_call>"),
        *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    )
    stop_tokens = ("<|user|>", "<|observation|>", "<|endoftext|>")
    calls_end = "<|observation|>"
    block = _BLOCK
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        parts = [] if thought is None else [f"<think>{thought}</think>"]
        parts += [response] if response else []
        for call in calls:
            lines = [f"<tool_call>{call.name}"]
            for name, value in call.parameters.items():
                lines.append(f"<arg_key>{name}</arg_key>\n<arg_value>{written(value)}</arg_value>")
            parts.append("\n".join([*lines, "</tool_call>"]))
        return "".join(f"\n{part}" for part in parts)

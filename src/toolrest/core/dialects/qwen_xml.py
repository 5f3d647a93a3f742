"""The dialect of Qwen3-Coder, Qwen3.5 and later, and Nemotron 3: calls as nested tags.

    <think>
    Thoughts
    </think>

    Text to the user

    <tool_call>
    <function=tool_name>
    <parameter=parameter>
    value
    </parameter>
    </function>
    </tool_call>

One call a block; see tagged.py for its values. A call without its block's marks,
which these models leave out at times, is read too.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import ToolCall
from toolrest.core.dialects.scanning import write_thought
from toolrest.core.dialects.tagged import TagBlock, TaggedDialect, written

_BLOCK = TagBlock(
    opening="<tool_call>",
    closing="</tool_call>",
    call=re.compile(r"<function=([^<>\n]*+)(>)?"),
    call_start="<function=",
    call_end="</function>",
    parameter=re.compile(r"<parameter=([^<>\n]*+)(>)?"),
    value_end="</parameter>",
    inner=("<parameter=",),
    most_calls=1,
    bare=True,
    lines=True,
)
_CERTAIN_CALL = re.compile(
    r"<tool_call>[ \t\r\n]*+<function=|"
    r"<function=[^<>\n]++>[ \t\r\n]*+(?:<parameter=[^<>\n]++>|</function>)"
)


class QwenXML(TaggedDialect):
    """Reads and writes the dialect of Qwen3-Coder, Qwen3.5 and later, and Nemotron 3."""

    name = "qwen_xml"
    special_tokens = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    stop_tokens = ("<|im_end|>", "<|endoftext|>")
    block = _BLOCK
    certain_call = _CERTAIN_CALL

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        blocks = []
        for call in calls:
            lines = [f"<tool_call>\n<function={call.name}>"]
            for name, value in call.parameters.items():
                lines.append(f"<parameter={name}>\n{written(value)}\n</parameter>")
            blocks.append("\n".join([*lines, "</function>\n</tool_call>"]))
        parts = [response] if response else []
        return write_thought(thought) + "\n\n".join(parts + ["\n".join(blocks)] * bool(blocks))

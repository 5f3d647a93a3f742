"""Chat messages with tools, in the form of OpenAI's interface, of ms-swift or LLaMA-Factory.

    {"messages": [{"role": .., "content": .., "tool_calls": [{"function": {name, arguments}}]}],
     "tools": [{"type": "function", "function": {name, description, parameters}}]}

Arguments, tools, and whatever else is an object may be a JSON text too; tools may be missing, or be
called `functions`; `system` may stand beside the messages.
"""

from __future__ import annotations

from typing import Any

from toolrest.data.dialogue import Tool
from toolrest.data.formats.chat import dialogue
from toolrest.data.formats.json_fields import field, objects, tools
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

KEYS = frozenset(("messages",))
ALSO = frozenset(("tools", "functions", "system"))


def read(row: dict[str, Any]) -> Record:
    """A dialogue of several turns.

    Raises:
        BadRow: a field is missing or is something else.
    """
    messages = objects(row.get("messages"), "messages")
    return Record(dialogue(messages, row_tools(row), row_system(row)))


def row_tools(row: dict[str, Any]) -> tuple[Tool, ...]:
    """The tools of a row, under either name.

    Raises:
        BadRow: they are something else, or both names have some.
    """
    found = [made for name in ("tools", "functions") if (made := tools(row.get(name), name))]
    if len(found) > 1:
        raise BadRow("the row has both tools and functions")
    return found[0] if found else ()


def row_system(row: dict[str, Any]) -> str | None:
    """The instructions beside the messages; None where there are none.

    Raises:
        BadRow: they are no text.
    """
    return (field(row, "system", str) if row.get("system") is not None else None) or None

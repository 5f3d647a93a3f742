"""ShareGPT's form, as LLaMA-Factory, APIGen-MT and Hermes' data have it.

    {"conversations": [{"from": "human" | "gpt" | "function_call" | "observation", "value": text}],
     "system": text, "tools": [..] or its JSON text}

The value of `function_call` is the JSON text of {name, arguments}, or of a list of them. The
speakers may have other names too: see `toolrest.data.formats.chat`.
"""

from __future__ import annotations

from typing import Any

from toolrest.data.formats.chat import dialogue
from toolrest.data.formats.json_fields import objects
from toolrest.data.formats.messages import ALSO, row_system, row_tools
from toolrest.data.record import Record

KEYS = frozenset(("conversations",))

__all__ = ["ALSO", "KEYS", "read"]


def read(row: dict[str, Any]) -> Record:
    """A dialogue of several turns.

    Raises:
        BadRow: a field is missing or is something else.
    """
    messages = objects(row.get("conversations"), "conversations")
    return Record(dialogue(messages, row_tools(row), row_system(row)))

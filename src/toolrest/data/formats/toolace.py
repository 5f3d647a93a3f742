"""ToolACE (Team-ACE/ToolACE).

    {"system": text with a JSON list of tools,
     "conversations": [{"from": "user" | "assistant" | "tool", "value": text}]}

An assistant's value that begins with `[` is calls in Python's syntax, [f(a=1), g(b="x")]; they are
read as literals and never run. A tool's value is JSON of [{name, results}], or a text.
"""

from __future__ import annotations

import json
from typing import Any

from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, Turn, UserTurn
from toolrest.data.formats.json_fields import field, objects, tool
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.dialects import ParseStatus, get_dialect

KEYS = frozenset(("system", "conversations"))
_WHO = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function"), "tool"),
}


def read(row: dict[str, Any]) -> Record:
    """A dialogue of several turns.

    Raises:
        BadRow: a field is missing or is something else, the tools or a call cannot be read.
    """
    tools = _tools(field(row, "system", str))
    turns: list[Turn] = []
    for said in objects(field(row, "conversations", list), "conversations"):
        who = _WHO.get(field(said, "from", str, "a conversation's "))
        value = field(said, "value", str, "a conversation's ")
        if who is None:
            raise BadRow(f"a conversation's from is {said['from']!r}, not user, assistant or tool")
        turns.append(_turn(who, value))
    return Record(Dialogue(tools, tuple(turns)))


def _tools(system: str) -> tuple[Tool, ...]:
    start = system.find("[{")
    if start < 0:
        if "[]" in system:
            return ()
        raise BadRow("system holds no JSON list of tools")
    try:
        listed, _ = json.JSONDecoder().raw_decode(system, start)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"the tools in system are not JSON ({error})") from error
    return tuple(map(tool, objects(listed, "the tools in system")))


def _turn(who: str, value: str) -> Turn:
    if who == "user":
        return UserTurn(value)
    if who == "tool":
        return Observation(_results(value))
    text = value.strip()
    if not text.startswith("["):
        return Action(response=value)
    reply = get_dialect("pythonic").parse(text)
    if reply.status is not ParseStatus.OK or not reply.calls:
        raise BadRow(f"an assistant's calls cannot be read: {text[:80]!r}")
    return Action(reply.calls)


def _results(value: str) -> tuple[tuple[str, str], ...]:
    try:
        listed = json.loads(value)
    except (ValueError, RecursionError):
        return (("", value),)
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        return (("", value),)
    return tuple(
        (
            str(item.get("name", "")),
            json.dumps(item.get("results", item), ensure_ascii=False),
        )
        for item in listed
    )

"""Chat messages with tools, in the form of OpenAI's interface.

    {"messages": [{"role": .., "content": .., "tool_calls": [{"function": {name, arguments}}]}],
     "tools": [{"type": "function", "function": {name, description, parameters}}]}

Arguments are an object or its JSON text; tools may be a JSON text too, or be missing.
"""

from __future__ import annotations

from typing import Any

from toolrest.data.dialogue import Action, Dialogue, Observation, Turn, UserTurn
from toolrest.data.formats.json_fields import call, field, loaded, objects, tool
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

KEYS = frozenset(("messages",))
_SYSTEM = ("system", "developer")


def read(row: dict[str, Any]) -> Record:
    """A dialogue of several turns.

    Raises:
        BadRow: a field is missing or is something else.
    """
    tools = tuple(map(tool, objects(loaded(row.get("tools") or [], "tools"), "tools")))
    messages = objects(loaded(row.get("messages"), "messages"), "messages")
    system: list[str] = []
    turns: list[Turn] = []
    names: dict[str, str] = {}
    for message in messages:
        role = field(message, "role", str, "a message's ")
        if role in _SYSTEM:
            system.append(_text(message))
        elif role == "user":
            turns.append(UserTurn(_text(message)))
        elif role == "assistant":
            turns.append(_action(message, names))
        elif role in ("tool", "function"):
            name = message.get("name") or names.get(str(message.get("tool_call_id")), "")
            result = (str(name), _text(message))
            last = turns[-1] if turns else None
            if isinstance(last, Observation):
                turns[-1] = Observation((*last.results, result))
            else:
                turns.append(Observation((result,)))
        else:
            raise BadRow(f"a message's role is {role!r}, not system, user, assistant or tool")
    return Record(Dialogue(tools, tuple(turns), "\n\n".join(system) or None))


def _text(message: dict[str, Any]) -> str:
    """A message's content: a text, or the texts of its parts."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = objects(content, "a message's content")
    if not all(isinstance(part.get("text"), str) for part in parts):
        raise BadRow("a message's content has a part that is no text")
    return "".join(part["text"] for part in parts)


def _action(message: dict[str, Any], names: dict[str, str]) -> Action:
    calls = []
    listed = message.get("tool_calls") or []
    if message.get("function_call"):
        listed = [{"function": message["function_call"]}]
    for each in objects(listed, "tool_calls"):
        inner = each.get("function")
        made = call(inner if isinstance(inner, dict) else each, "arguments")
        names[str(each.get("id"))] = made.name
        calls.append(made)
    response = _text(message).strip() or None
    if not calls and response is None:
        raise BadRow("an assistant's message has neither calls nor content")
    thought = message.get("reasoning_content") or message.get("thinking")
    return Action(tuple(calls), response, thought if isinstance(thought, str) else None)

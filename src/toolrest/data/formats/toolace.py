"""ToolACE (Team-ACE/ToolACE).

    {"system": text with a JSON list of tools,
     "conversations": [{"from": "user" | "assistant" | "tool", "value": text}]}

An assistant's value that begins with `[` is calls in Python's syntax, [f(a=1), g(b="x")]; they are
read as literals and never run. A tool's value is JSON of [{name, results}], or a text. Of the
system text the list and the sentences about how functions are called are left out, for the prompt
says that in its own words; what else it says stays.
"""

from __future__ import annotations

import json
import re
from typing import Any

from toolrest.core.dialects import ParseStatus, ToolCall, get_dialect
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, Turn, UserTurn
from toolrest.data.formats.inline import has_calls
from toolrest.data.formats.json_fields import field, objects, tools
from toolrest.data.json_text import Written
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

KEYS = frozenset(("system", "conversations"))
_WHO = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function"), "tool"),
}
_OWN = frozenset(("user", "assistant", "tool"))
_NONE = re.compile(r"^\s*+\[\]", re.MULTILINE)
"""An empty list of tools: one that begins a line, and is not spoken of."""
_CALLING = re.compile(r"\bfunc(?:tions?|\d)?\b|\bNO other text\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")


def read(row: dict[str, Any]) -> Record:
    """A dialogue of several turns.

    Raises:
        BadRow: a field is missing or is something else, the tools or a call cannot be read.
    """
    listed, system = _system(field(row, "system", str))
    turns: list[Turn] = []
    for said in objects(field(row, "conversations", list), "conversations"):
        who = _WHO.get(field(said, "from", str, "a conversation's "))
        value = field(said, "value", str, "a conversation's ")
        if who is None:
            raise BadRow(f"a conversation's from is {said['from']!r}, not user, assistant or tool")
        turns.append(_turn(who, value))
    return Record(Dialogue(listed, tuple(turns), system))


def is_one(row: dict[str, Any]) -> bool:
    """Whether a row that could be ShareGPT's too is ToolACE's: its system text lists the tools, and
    its speakers have ToolACE's names, or an assistant's value is calls in Python's syntax.
    """
    try:
        listed, _ = _system(field(row, "system", str))
        said = [
            (field(each, "from", str), field(each, "value", str).strip())
            for each in objects(row.get("conversations"), "conversations")
        ]
    except BadRow:
        return False
    acts = [value for who, value in said if _WHO.get(who) == "assistant"]
    if any(map(has_calls, acts)):
        return False
    return all(who in _OWN for who, _ in said) or (bool(listed) and any(map(_calls, acts)))


def _system(system: str) -> tuple[tuple[Tool, ...], str | None]:
    """(the tools that a system text lists, what else it says)."""
    start = system.find("[{")
    if start < 0:
        empty = _NONE.search(system)
        if empty is None:
            raise BadRow("system holds no JSON list of tools")
        return (), _rest(system[: empty.start()], system[empty.end() :])
    try:
        listed, end = json.JSONDecoder(object_hook=Written).raw_decode(system, start)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"the tools in system are not JSON ({error})") from error
    return tools(listed, "the tools in system"), _rest(system[:start], system[end:])


def _rest(before: str, after: str) -> str | None:
    sentences = [
        sentence.strip()
        for text in (before, after.lstrip(". "))
        for sentence in _SENTENCE.split(text)
    ]
    return " ".join(s for s in sentences if s and not _CALLING.search(s)) or None


def _turn(who: str, value: str) -> Turn:
    if who == "user":
        return UserTurn(value)
    if who == "tool":
        return Observation(_results(value))
    text = value.strip()
    if not text.startswith("["):
        if has_calls(text):
            raise BadRow(f"an assistant's value has a call that is not ToolACE's: {text[:80]!r}")
        return Action(response=value)
    calls = _calls(text)
    if not calls:
        raise BadRow(f"an assistant's calls cannot be read: {text[:80]!r}")
    return Action(calls)


def _calls(text: str) -> tuple[ToolCall, ...]:
    """The calls of a text; none where it is something else."""
    reply = get_dialect("pythonic").parse(text) if text.startswith("[") else None
    return reply.calls if reply is not None and reply.status is ParseStatus.OK else ()


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

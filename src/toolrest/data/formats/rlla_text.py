"""The texts of RLLA prompts: the tools that a system message lists, the history of a user message.

What cannot be read is left out, so that a prompt whose texts are odd still trains as it is; the
prompt itself is taken from the file and not written anew.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.data.dialogue import Action, Observation, Tool, Turn, UserTurn
from toolrest.data.formats.json_fields import tool
from toolrest.data.json_text import written
from toolrest.data.rows import BadRow

_LISTED = "use the following tools:\n"
_ENDS = "\n\n**Steps for Each Turn**"
_NAMED = re.compile(
    r"^\d+\. Name: (.*)\n(?:Description: (.*(?:\n(?!Parameters: |\d+\. ).*)*)\n)?"
    r"Parameters: (.*)$",
    re.MULTILINE,
)
_SHORT = re.compile(r"^\d+\. (?!Name: )([^:\n]+): (.*)(?:\nParameters: (.*))?$", re.MULTILINE)
_TURN = re.compile(
    r"<user>(?P<user>.*?)</user>|<obs>(?P<obs>.*?)</obs>|"
    r"(?P<action>(?:<think>.*?</think>\s*)?(?:<tool_call>.*?</tool_call>\s*)?"
    r"(?:<response>.*?</response>)?)",
    re.DOTALL,
)


def listed_tools(system: str) -> tuple[Tool, ...]:
    """The tools that a system message of RLLA or API-Bank lists."""
    _, found, rest = system.partition(_LISTED)
    listing = rest.split(_ENDS)[0] if found else ""
    tools = []
    for pattern in (_NAMED, _SHORT):
        for name, about, parameters in pattern.findall(listing):
            value = {"name": name, "description": about, "parameters": _literal(parameters)}
            try:
                tools.append(tool(value))
            except BadRow:
                tools.append(Tool(name, about))
    return tuple(tools)


def _literal(text: str) -> dict[str, Any]:
    """A JSON object, or a Python dictionary of literals: what it holds was written so."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict):
            return written(value)
    return {}


def history(user: str) -> tuple[Turn, ...]:
    """The turns of a flattened history; the whole text as the user's where it has no marks."""
    turns: list[Turn] = []
    for found in _TURN.finditer(_closing(user)):
        said, seen, acted = (user[slice(*found.span(part))] for part in ("user", "obs", "action"))
        if found["user"] is not None:
            turns.append(UserTurn(said.strip()))
        elif found["obs"] is not None:
            turns.append(Observation(_results(seen.strip())))
        elif acted.strip():
            reply = get_dialect("rlla").parse(acted)
            if reply.calls or reply.response is not None:
                turns.append(Action(reply.calls, reply.response, reply.thought))
    return tuple(turns) or (UserTurn(user),)


def _closing(text: str) -> str:
    """The text with every opening tag that nothing closes written otherwise, as long as it was.

    Each of them would be looked for an end to the end of the text.
    """
    for tag in ("user", "obs", "think", "tool_call", "response"):
        last = text.rfind(f"</{tag}>") + 1
        text = text[:last] + text[last:].replace(f"<{tag}>", f"\0{tag}>")
    return text


def _results(text: str) -> tuple[tuple[str, str], ...]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return (("", text),)
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        return (("", text),)
    return tuple(
        (str(item.get("name", "")), json.dumps(item.get("results"), ensure_ascii=False))
        for item in listed
    )

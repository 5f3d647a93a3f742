"""Splits texts: thought and calls of an assistant's, tool results of a user's.

Data that a chat template or a model has written has `<think>..</think>` and `<tool_call>..` inside
the content. Calls are read in the dialect that reads the whole text; they are never a response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from toolrest.core.dialects import Block, ParseStatus, Reply, ToolCall, dialect_names, get_dialect
from toolrest.core.dialects.json_call import UNREADABLE, load
from toolrest.data.dialogue import Action, Tool
from toolrest.data.rows import BadRow
from toolrest.data.wording import openai_tool
from toolrest.errors import short

_OPENS, _CLOSES = "<think>", "</think>"
_MARK = re.compile(
    r"<[|\uff5c]?(?:start_|\w{1,20}[:_])?(?:tool|function)[_\u2581]?call|<\|python_tag\|>|<function=|"
    r"\[TOOL_CALLS\]|<\|channel\|>commentary to=|\uff5cDSML\uff5c|<(?:\w{1,20}:)?invoke name=|"
    r"<\|(?:action_start|start_action|tools_prefix)\|>|<tool_use>|<execute_tool>|\bto=functions\.|"
    r"^functools\[\{|^Action Input:|^>>>[\w.]++\n\{",
    re.IGNORECASE | re.MULTILINE,
)
"""How a call begins in the dialects of published models, read here or not; no response says it."""
_BARE = ("{", "[")
"""How a call begins that has no mark: JSON, or a list in Python's syntax."""
_NO_NAME = re.compile(r'[<>(){}"\n]')
"""In no tool's name that a row does not list: dialects that write names bare take anything."""
_FENCED = re.compile(r"```(?:json|python|tool_code)?\s*+(.*?)\s*+```", re.DOTALL)
_BARE_CALL = re.compile(r"([\w.-]++)\(.*\)", re.DOTALL)
_TOOL_KEYS = ("name", "tool", "tool_name", "function", "function_name", "action", "api", "api_name")
_RESULT = re.compile(r"\s*+<tool_response>(.*?)</tool_response>\s*+", re.DOTALL)


def split_thought(text: str) -> tuple[str | None, str]:
    """(leading thought, rest of the text), split as Qwen3's chat template does.

    The opening mark may be missing, where a prompt ends with it.

    Raises:
        BadRow: the thought does not end.
    """
    opened = text.lstrip().startswith(_OPENS)
    if not opened and (_OPENS in text or _CLOSES not in text):
        return None, text
    before, closed, rest = text.partition(_CLOSES)
    if not closed:
        raise BadRow("an assistant's content opens a thought that does not end")
    thought = before.partition(_OPENS)[2] if opened else before
    return thought.strip() or None, rest.lstrip("\n")


def split_calls(text: str, listed: Mapping[str, Tool]) -> Action | None:
    """The action of a text with calls in any dialect; None if it has no calls.

    A text without the mark of a call (JSON, or Python's syntax) is calls where a dialect reads the
    whole of it so, or it is nothing but objects of a name and arguments; it must then name tools of
    the row.

    Args:
        listed: the row's tools by name.

    Raises:
        BadRow: there is a call that no dialect reads, or that two read differently, or one of a
            tool that the row does not list in a text without marks.
    """
    marked = _MARK.search(text)
    if not marked and not text.startswith(_BARE):
        _check_no_call(text, listed)
        return None
    tools = [openai_tool(tool) for tool in listed.values()]
    found: list[tuple[str, Reply]] = []
    for name in dialect_names():
        reply = get_dialect(name).parse(text, tools)
        whole = reply.status is ParseStatus.OK and reply.calls_intact and reply.calls
        whole = whole and not has_calls(reply.response or "")
        odd = any(call.name not in listed and _NO_NAME.search(call.name) for call in reply.calls)
        if whole and not (marked and odd) and Block.CALLS in reply.blocks:
            found.append((name, reply))
    if not found and marked:
        raise BadRow(f"an assistant's content holds a call that cannot be read: {short(text)}")
    if found:
        (name, reply), *others = found
        action = Action(reply.calls, reply.response or None, reply.thought or None)
        if any(other.calls != reply.calls for _, other in others):
            names = " and ".join(each for each, _ in found)
            raise BadRow(f"an assistant's content is other calls in {names}: {short(text)}")
    else:
        name, action = "JSON", Action(_json_calls(text))
        if not action.calls:
            _check_no_call(text, listed)
            return None
    unlisted = [call.name for call in action.calls if call.name not in listed]
    if not marked and unlisted:
        raise BadRow(
            f"an assistant's content reads as a call in {name}, of {short(unlisted[0])}, a tool "
            "that the row does not list"
        )
    return action


def _json_calls(text: str) -> tuple[ToolCall, ...]:
    """The calls of a text that is {"name": .., "arguments": {..}} or a list of such objects, with
    nothing else in them; else none. Arguments may be their JSON text.
    """
    try:
        value = load(text)
    except UNREADABLE:
        return ()
    listed = value if isinstance(value, list) else [value]
    calls = []
    for each in listed:
        keys = set(each) - {"id", "type"} if isinstance(each, dict) else set()
        given = "arguments" if "arguments" in keys else "parameters"
        if keys != {"name", given} or not isinstance(each["name"], str):
            return ()
        arguments = each[given]
        try:
            arguments = load(arguments) if isinstance(arguments, str) else arguments
        except UNREADABLE:
            return ()
        if not isinstance(arguments, dict):
            return ()
        calls.append(ToolCall(each["name"], arguments))
    return tuple(calls)


def _check_no_call(text: str, listed: Mapping[str, Tool]) -> None:
    """That a text that no dialect reads is not a call in other words of a tool of the row: JSON
    that names it, a call in Python's syntax, either of them in a fence.

    Raises:
        BadRow: it is one.
    """
    fence = _FENCED.fullmatch(text.strip())
    inner = fence[1] if fence else text.strip()
    call = _BARE_CALL.fullmatch(inner)
    named = call is not None and call[1] in listed
    if inner.startswith(_BARE):
        try:
            named = _names_tool(load(inner), listed)
        except UNREADABLE:
            named = False
    if named:
        raise BadRow(f"an assistant's content holds a call that cannot be read: {short(text)}")


def _names_tool(value: Any, listed: Mapping[str, Tool]) -> bool:
    """Whether an object of a JSON value says the name of a tool where calls do."""
    if isinstance(value, list):
        return any(_names_tool(each, listed) for each in value)
    if not isinstance(value, dict):
        return False
    said = (value.get(key) for key in _TOOL_KEYS)
    return any(isinstance(name, str) and name in listed for name in said) or any(
        _names_tool(each, listed) for each in value.values()
    )


def has_calls(text: str) -> bool:
    """Whether a text has a mark that starts a call."""
    return _MARK.search(text) is not None


def split_results(text: str) -> list[str] | None:
    """The results of a text that consists of `<tool_response>..</tool_response>`; else None."""
    found, at = [], 0
    while at < len(text):
        result = _RESULT.match(text, at)
        if result is None:
            return None
        found.append(result[1].strip())
        at = result.end()
    return found or None

"""Prompt styles: dialogue -> chat messages, and the tools for the chat template.

- `rlla`: the prompt of ToolRL and ResT: tools in the system message, the whole history flattened
  into the one user message.
- `template`: the chat template of the policy lists the tools and writes calls and results.
- `plain`: our own words, for a template that knows no tools: a system message that lists them as
  JSON and shows a call in the policy's dialect; results come back as user messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolrest.core.dialects import Dialect, ToolCall
from toolrest.data.dialogue import Action, Dialogue, Observation, SystemTurn, Tool, UserTurn
from toolrest.data.rlla_wording import rlla_messages
from toolrest.errors import InputError, check_name


@dataclass(frozen=True)
class Prompt:
    """A prompt: chat messages and tools."""

    messages: list[dict[str, Any]]
    """Chat messages."""
    tools: list[dict[str, Any]] | None = None
    """Tools for the chat template, in OpenAI's form; None where the messages list them."""


Thoughts = Literal["none", "placeholder", "all"]
"""What is kept of the thoughts of earlier actions: nothing; in RLLA's wording one of two set
sentences in their place, as its rows have them, and elsewhere nothing; or what was thought."""


def word(
    dialogue: Dialogue,
    style: str,
    dialect: Dialect,
    thoughts: Thoughts = "placeholder",
    *,
    think: bool = False,
) -> Prompt:
    """Write the prompt of a dialogue.

    Args:
        style: `rlla`, `template` or `plain`.
        dialect: how the policy writes its actions.
        thoughts: of earlier actions.
        think: whether a prompt in plain words asks for a thought before the action. RLLA's always
            does, and a chat template decides for itself.

    Raises:
        InputError: no such style, or RLLA's for a dialogue that begins with an environment's
            messages, which it has no place for.
    """
    check_name("prompt", style, _STYLES)
    if dialogue.begins and style == "rlla":
        raise InputError("prompt=rlla words a whole dialogue anew; use plain or template")
    made = (
        _plain(dialogue, dialect, thoughts, think)
        if style == "plain"
        else _STYLES[style](dialogue, dialect, thoughts)
    )
    return Prompt(writable(made.messages), made.tools)


def writable(value: Any) -> Any:
    """The value with lone surrogates replaced by U+FFFD."""
    if isinstance(value, str):
        return (
            value
            if value.isascii()
            else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [writable(item) for item in value]
    if isinstance(value, dict):
        return {writable(key): writable(item) for key, item in value.items()}
    return value


def style_names() -> tuple[str, ...]:
    """The styles that `word` knows."""
    return tuple(_STYLES)


_ROLES = {UserTurn: "user", SystemTurn: "system"}


def _template(dialogue: Dialogue, dialect: Dialect, thoughts: Thoughts) -> Prompt:
    messages = list(map(dict, dialogue.begins))
    if dialogue.system:
        messages.append({"role": "system", "content": dialogue.system})
    made, owed = 0, 0
    for turn in dialogue.turns:
        if isinstance(turn, UserTurn | SystemTurn):
            messages.append({"role": _ROLES[type(turn)], "content": turn.text})
        elif isinstance(turn, Action):
            message: dict[str, Any] = {"role": "assistant", "content": turn.response or ""}
            if turn.thought and thoughts == "all":
                message["reasoning_content"] = turn.thought
            if turn.calls:
                message["tool_calls"] = [
                    _openai_call(call, dialect.call_id(call.name, made + number))
                    for number, call in enumerate(turn.calls)
                ]
            owed, made = made, made + len(turn.calls)
            messages.append(message)
        else:
            answered = turn.calls or range(len(turn.results))
            for number, (name, text) in zip(answered, turn.results, strict=True):
                messages.append(
                    {
                        "role": "tool",
                        "name": name,
                        "content": text,
                        "tool_call_id": dialect.call_id(name, owed + number),
                    }
                )
    return Prompt(messages, [openai_tool(tool) for tool in dialogue.tools] or None)


def split_parallel(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with one call each, for a template that writes no more: each call of a message
    in one of its own, and the result that it has right after it, in the order of the calls.

    What the message says, and its thought, stay with its first call. Messages of one call or none
    stay as they are.
    """
    made: list[dict[str, Any]] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        after = at + 1
        if len(message.get("tool_calls") or ()) > 1:
            while after < len(messages) and messages[after]["role"] == "tool":
                after += 1
            made += _one_by_one(message, messages[at + 1 : after])
        else:
            made.append(message)
        at = after
    return made


def _one_by_one(message: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    calls = message["tool_calls"]
    ids = [call.get("id") for call in calls]
    answers: list[list[dict[str, Any]]] = [[] for _ in calls]
    for result in results:
        mine = result.get("tool_call_id")
        free = next((n for n, each in enumerate(answers) if not each), len(calls) - 1)
        answers[ids.index(mine) if mine is not None and mine in ids else free].append(result)
    made: list[dict[str, Any]] = []
    for number, call in enumerate(calls):
        alone = message if number == 0 else {"role": message["role"], "content": ""}
        made += [alone | {"tool_calls": [call]}, *answers[number]]
    return made


def openai_tool(tool: Tool) -> dict[str, Any]:
    """A tool in the form of OpenAI's API, which chat templates take."""
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters or {"type": "object", "properties": {}},
        },
    }


def _openai_call(call: ToolCall, identity: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.parameters}
    return {"id": identity, "type": "function", "function": function}


_LISTING = "You can call tools. Each is described by a JSON object:"
_EXAMPLE = (ToolCall("tool_name", {"parameter_name": "value"}),)


def _plain(dialogue: Dialogue, dialect: Dialect, thoughts: Thoughts, think: bool = False) -> Prompt:
    """Calls are written back as the dialect writes them; a call it cannot express as JSON."""
    messages: list[dict[str, Any]] = list(map(dict, dialogue.begins))
    if not messages:
        messages.append({"role": "system", "content": _plain_system(dialogue, dialect, think)})
    for turn in dialogue.turns:
        if isinstance(turn, UserTurn | SystemTurn):
            messages.append({"role": _ROLES[type(turn)], "content": turn.text})
        elif isinstance(turn, Action):
            thought = turn.thought if thoughts == "all" else None
            text = dialect.write(thought=thought, calls=turn.calls, response=turn.response)
            messages.append({"role": "assistant", "content": text.strip()})
        else:
            assert isinstance(turn, Observation)
            results = [{"name": name, "result": text} for name, text in turn.results]
            written = "\n".join(json.dumps(r, ensure_ascii=False) for r in results)
            messages.append({"role": "user", "content": f"Tool results:\n{written}"})
    return Prompt(messages)


def _plain_system(dialogue: Dialogue, dialect: Dialect, think: bool) -> str:
    listed = "\n".join(json.dumps(openai_tool(t)["function"]) for t in dialogue.tools)
    example = dialect.write(thought=None, calls=_EXAMPLE, response=None).strip()
    opens, closes = dialect.thought_marks
    first = f"First think, between {opens} and {closes}. " if think else ""
    system = (
        f"{_LISTING}\n{listed}\n\n{first}"
        f"To call tools, write nothing but calls, in this form:\n{example}\n\n"
        "If no tool fits, or a required parameter is missing, answer in words."
    )
    return f"{dialogue.system}\n\n{system}" if dialogue.system else system


def plain_tools(system: str) -> list[dict[str, Any]]:
    """The tools that a system message in plain words lists."""
    _, found, rest = system.partition(f"{_LISTING}\n")
    lines = rest.split("\n\n")[0].split("\n") if found else []
    tools = []
    for line in lines:
        try:
            tools.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return [tool for tool in tools if isinstance(tool, dict)]


_STYLES: dict[str, Callable[[Dialogue, Dialect, Thoughts], Prompt]] = {
    "rlla": lambda dialogue, dialect, thoughts: Prompt(rlla_messages(dialogue, thoughts)),
    "template": _template,
    "plain": _plain,
}

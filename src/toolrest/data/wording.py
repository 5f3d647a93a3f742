"""How a dialogue is worded for a policy: chat messages, and the tools that the template lists.

- `rlla`: the prompt of ToolRL and ResT: tools in the system message, the whole history flattened
  into the one user message.
- `template`: the chat template of the policy lists the tools and writes calls and results.
- `plain`: our own words, for a template that knows no tools: a system message that lists them as
  JSON and shows a call in the policy's dialect; results come back as user messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, UserTurn
from toolrest.dialects import Dialect, ToolCall
from toolrest.errors import InputError
from toolrest.naming import unknown_name

CALLING = "I should use the appropriate tool with proper parameters to respond to the user's need."
"""RLLA's thought where a tool was called and the true one is not kept."""
RESPONDING = "I should directly respond to the user's need."
"""The same where nothing was called."""


@dataclass(frozen=True)
class Prompt:
    """What a policy is shown."""

    messages: list[dict[str, Any]]
    """Chat messages."""
    tools: list[dict[str, Any]] | None = None
    """Tools for the chat template, in OpenAI's form; None where the messages list them."""


Thoughts = Literal["none", "placeholder", "all"]
"""What is kept of the thoughts of earlier actions: nothing; in RLLA's wording one of two set
sentences in their place, as its rows have them, and elsewhere nothing; or what was thought."""


def word(
    dialogue: Dialogue, style: str, dialect: Dialect, thoughts: Thoughts = "placeholder"
) -> Prompt:
    """The prompt of a dialogue.

    Args:
        style: `rlla`, `template` or `plain`.
        dialect: how the policy writes its actions.
        thoughts: of earlier actions.

    Raises:
        InputError: no such style.
    """
    if style not in _STYLES:
        raise InputError(unknown_name("prompt", style, _STYLES))
    made = _STYLES[style](dialogue, dialect, thoughts)
    return Prompt(_writable(made.messages), made.tools)


def _writable(value: Any) -> Any:
    """The value with lone surrogates, which UTF-8 has no bytes for, as U+FFFD."""
    if isinstance(value, str):
        return (
            value
            if value.isascii()
            else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    return value


def style_names() -> tuple[str, ...]:
    """The styles that `word` knows."""
    return tuple(_STYLES)


def default_style(dialect: str, chat_template: str | None) -> str:
    """The style for a dialect: RLLA's own, the template's where it lists tools, else plain."""
    if dialect == "rlla":
        return "rlla"
    return "template" if chat_template is not None and "tools" in chat_template else "plain"


def _template(dialogue: Dialogue, dialect: Dialect, thoughts: Thoughts) -> Prompt:
    messages: list[dict[str, Any]] = []
    if dialogue.system:
        messages.append({"role": "system", "content": dialogue.system})
    made, owed = 0, 0
    for turn in dialogue.turns:
        if isinstance(turn, UserTurn):
            messages.append({"role": "user", "content": turn.text})
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
            for number, (name, text) in enumerate(turn.results):
                messages.append(
                    {
                        "role": "tool",
                        "name": name,
                        "content": text,
                        "tool_call_id": dialect.call_id(name, owed + number),
                    }
                )
    return Prompt(messages, [openai_tool(tool) for tool in dialogue.tools] or None)


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


_RLLA_SYSTEM = """\
You are a helpful multi-turn dialogue assistant capable of leveraging tool calls to solve user \
tasks and provide structured chat responses.

**Available Tools**
In your response, you can use the following tools:
{tools}

**Steps for Each Turn**
1. **Think:** Recall relevant context and analyze the current user goal.
2. **Decide on Tool Usage:** If a tool is needed, specify the tool and its parameters.
3. **Respond Appropriately:** If a response is needed, generate one while maintaining consistency \
across user queries.

**Output Format**
```plaintext
<think> Your thoughts and reasoning </think>
<tool_call>
{{"name": "Tool name", "parameters": {{"Parameter name": "Parameter content", \
"... ...": "... ..."}}}}
{{"name": "... ...", "parameters": {{"... ...": "... ...", "... ...": "... ..."}}}}
...
</tool_call>
<response> AI's final response </response>
```

**Important Notes**
1. You must always include the `<think>` field to outline your reasoning. Provide at least one of \
`<tool_call>` or `<response>`. Decide whether to use `<tool_call>` (possibly multiple times), \
`<response>`, or both.
2. You can invoke multiple tool calls simultaneously in the `<tool_call>` fields. Each tool call \
should be a JSON object with a "name" field and an "parameters" field containing a dictionary of \
parameters. If no parameters are needed, leave the "parameters" field an empty dictionary.
3. Refer to the previous dialogue records in the history, including the user's queries, previous \
`<tool_call>`, `<response>`, and any tool feedback noted as `<obs>` (if exists)."""


def _rlla(dialogue: Dialogue, dialect: Dialect, thoughts: Thoughts) -> Prompt:
    listed = "\n".join(
        f"{number}. Name: {tool.name}\nDescription: {tool.description}\n"
        f"Parameters: {json.dumps(_rlla_parameters(tool), ensure_ascii=False)}"
        for number, tool in enumerate(dialogue.tools, start=1)
    )
    system = _RLLA_SYSTEM.format(tools=listed)
    if dialogue.system:
        system += f"\n\n{dialogue.system}"
    history = "**Dialogue Records History**"
    for turn in dialogue.turns:
        if isinstance(turn, UserTurn):
            history += f"\n<user> {turn.text} </user>\n"
        elif isinstance(turn, Action):
            history += f"\n{_rlla_action(turn, thoughts)}\n"
        else:
            results = [{"name": name, "results": _value(text)} for name, text in turn.results]
            history += f"<obs> {json.dumps(results, ensure_ascii=False)} </obs>\n"
    return Prompt(
        [
            {"role": "system", "content": system},
            {"role": "user", "content": history.rstrip("\n")},
        ]
    )


def _rlla_parameters(tool: Tool) -> dict[str, Any]:
    properties = tool.parameters.get("properties") or {}
    return {
        name: {
            "description": schema.get("description", ""),
            "type": schema.get("type", ""),
            "default": schema.get("default", ""),
            **{key: schema[key] for key in ("enum", "items", "properties") if key in schema},
        }
        for name, schema in properties.items()
    }


def _rlla_action(action: Action, thoughts: Thoughts) -> str:
    placeholder = CALLING if action.calls else RESPONDING
    thought = (action.thought or placeholder) if thoughts == "all" else placeholder
    lines = [] if thoughts == "none" else [f"<think> {thought} </think>"]
    if action.calls:
        calls = [{"name": c.name, "parameters": c.parameters} for c in action.calls]
        written = [json.dumps(call, ensure_ascii=False) for call in calls]
        lines += ["<tool_call>", *written, "</tool_call>"]
    if action.response:
        lines.append(f"<response> {action.response} </response>")
    return "\n".join(lines)


def _value(text: str) -> Any:
    """The JSON value of a result, or its text where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_EXAMPLE = (ToolCall("tool_name", {"parameter_name": "value"}),)


def _plain(dialogue: Dialogue, dialect: Dialect, thoughts: Thoughts) -> Prompt:
    """Calls are written back as the dialect writes them; a call it cannot express as JSON."""
    listed = "\n".join(json.dumps(openai_tool(t)["function"]) for t in dialogue.tools)
    example = dialect.write(thought=None, calls=_EXAMPLE, response=None).strip()
    system = (
        "You can call tools. Each is described by a JSON object:\n"
        f"{listed}\n\nTo call tools, write nothing but calls, in this form:\n{example}\n\n"
        "If no tool fits, or a required parameter is missing, answer in words."
    )
    if dialogue.system:
        system = f"{dialogue.system}\n\n{system}"
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for turn in dialogue.turns:
        if isinstance(turn, UserTurn):
            messages.append({"role": "user", "content": turn.text})
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


_STYLES: dict[str, Callable[[Dialogue, Dialect, Thoughts], Prompt]] = {
    "rlla": _rlla,
    "template": _template,
    "plain": _plain,
}

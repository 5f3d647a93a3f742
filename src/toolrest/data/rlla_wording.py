"""The prompt of ToolRL and ResT: tools in the system message, the whole history in the user's."""

from __future__ import annotations

import json
from typing import Any

from toolrest.data.dialogue import Action, Dialogue, SystemTurn, Tool, UserTurn

CALLING = "I should use the appropriate tool with proper parameters to respond to the user's need."
"""RLLA's thought where a tool was called and the true one is not kept."""
RESPONDING = "I should directly respond to the user's need."
"""The same where nothing was called."""


_SYSTEM = """\
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


def rlla_messages(dialogue: Dialogue, thoughts: str) -> list[dict[str, Any]]:
    """The two messages of a dialogue.

    Args:
        thoughts: of earlier actions, as `toolrest.data.wording.Thoughts` says.
    """
    listed = "\n".join(
        f"{number}. Name: {tool.name}\nDescription: {tool.description}\n"
        f"Parameters: {json.dumps(_parameters(tool), ensure_ascii=False)}"
        for number, tool in enumerate(dialogue.tools, start=1)
    )
    system = _SYSTEM.format(tools=listed)
    if dialogue.system:
        system += f"\n\n{dialogue.system}"
    history = "**Dialogue Records History**"
    for turn in dialogue.turns:
        if isinstance(turn, UserTurn):
            history += f"\n<user> {turn.text} </user>\n"
        elif isinstance(turn, SystemTurn):
            history += f"\n<system> {turn.text} </system>\n"
        elif isinstance(turn, Action):
            history += f"\n{_action(turn, thoughts)}\n"
        else:
            results = [{"name": name, "results": _value(text)} for name, text in turn.results]
            history += f"<obs> {json.dumps(results, ensure_ascii=False)} </obs>\n"
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": history.rstrip("\n")},
    ]


_SAID = ("description", "type", "default")
_PLAIN = frozenset(("type", "properties", "required", "title", "description", "$schema"))
"""Words of a schema that parameters by name say as well, or that say nothing of them."""


def _parameters(tool: Tool) -> dict[str, Any]:
    """By name, as RLLA has them; the schema as it is where it says more than its properties do."""
    more = set(tool.parameters) - _PLAIN
    if tool.parameters.get("additionalProperties") is False:
        more -= {"additionalProperties"}
    properties = tool.parameters.get("properties")
    if more or not isinstance(properties, dict):
        return tool.parameters
    return {name: _parameter(schema) for name, schema in properties.items()}


def _parameter(schema: Any) -> dict[str, Any]:
    said = schema if isinstance(schema, dict) else {}
    made = {key: said.get(key, "") for key in _SAID}
    if said.keys() - made.keys() and "type" not in said:
        del made["type"]  # what else it says is its type
    return made | said


def _action(action: Action, thoughts: str) -> str:
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

"""Prompts with a right reply: the columns that `toolrest.ResTTrainer` asks for.

    {"prompt": text or chat messages, "ground_truth": a right reply in the recipe's dialect,
     "tools": [..]}

A text is what the user says. Messages that are texts alone, in a row without tools, stay as they
are: whoever wrote them has worded them. Everything else is worded as the recipe says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toolrest.core.dialects import ParseStatus, get_dialect
from toolrest.data.dialogue import Action, Dialogue, SystemTurn, Tool, Turn, UserTurn
from toolrest.data.formats.chat import dialogue
from toolrest.data.formats.inline import split_calls
from toolrest.data.formats.json_fields import by_name, field, objects
from toolrest.data.formats.messages import row_tools
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.data.wording import openai_tool
from toolrest.errors import short

KEYS = frozenset(("prompt", "ground_truth"))
ALSO = frozenset(("tools", "functions"))


def read(row: dict[str, Any], dialect: str) -> Record:
    """One prompt, and the reply to it.

    Args:
        dialect: that the ground truth is written in.

    Raises:
        BadRow: a field is missing or is something else, or the ground truth does not parse, or
            holds calls of another dialect, which would be read as a response.
    """
    tools = row_tools(row)
    action = _action(field(row, "ground_truth", str), dialect, tools)
    messages = _messages(row.get("prompt"))
    if not tools and all(map(_is_text, messages)):
        prompt = tuple({"role": m["role"], "content": m["content"]} for m in messages)
        known = Dialogue((), tuple(map(_turn, prompt)))
        return Record(_with(known, action), prompt, as_it_is=True)
    return Record(_with(dialogue(messages, tools), action), last_alone=True)


def _action(text: str, dialect: str, tools: Sequence[Tool]) -> Action:
    reply = get_dialect(dialect).parse(text, [openai_tool(tool) for tool in tools])
    if reply.status is not ParseStatus.OK or not (reply.calls or reply.response):
        raise BadRow(f"the ground truth does not parse in the dialect {dialect} ({reply.status})")
    said = reply.response
    if said and not reply.calls and split_calls(said, by_name(tuple(tools))) is not None:
        raise BadRow(
            f"the ground truth holds calls that are not in the dialect {dialect}: {short(said)}; "
            "write them in it, or name theirs"
        )
    return Action(reply.calls, reply.response, reply.thought or None)


def _with(known: Dialogue, action: Action) -> Dialogue:
    return replace(known, turns=(*known.turns, action))


def _messages(prompt: Any) -> list[dict[str, Any]]:
    """The messages of a prompt; a text that is none of them is the user's."""
    if isinstance(prompt, str) and prompt.strip():
        try:
            messages = objects(prompt, "prompt")
        except BadRow:
            messages = []
        if messages and all("role" in each for each in messages):
            return messages
        return [{"role": "user", "content": prompt}]
    messages = objects(prompt, "prompt")
    if not messages:
        raise BadRow("prompt is empty")
    return messages


def _is_text(message: dict[str, Any]) -> bool:
    said = {key for key, value in message.items() if value is not None}
    return (
        said == {"role", "content"}
        and message["role"] in ("system", "user", "assistant")
        and isinstance(message["content"], str)
    )


def _turn(message: dict[str, Any]) -> Turn:
    text = message["content"]
    if message["role"] == "assistant":
        return Action(response=text)
    return UserTurn(text) if message["role"] == "user" else SystemTurn(text)

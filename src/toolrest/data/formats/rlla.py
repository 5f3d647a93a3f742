"""RLLA rows: the parquet of ToolRL and ResT, and the JSON of its supervised part.

    {"prompt": [system, user], "reward_model": {"ground_truth": reply}}
    {"instruction": system, "input": user, "output": reply}

The prompt stays as it is. An output's thought is no ground truth (some mention tags) and is dropped
from it; the whole output is the row's demonstration, in other dialects its parts are.
"""

from __future__ import annotations

from typing import Any

from toolrest.core.dialects import ParseStatus, get_dialect
from toolrest.data.dialogue import Action, Dialogue
from toolrest.data.formats.json_fields import field, objects
from toolrest.data.formats.rlla_text import history, listed_tools
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

KEYS = frozenset(("prompt", "reward_model"))
JSON_KEYS = frozenset(("instruction", "input", "output"))


def read(row: dict[str, Any]) -> Record:
    """A row of the parquet.

    Raises:
        BadRow: a field is missing or is something else, or the ground truth does not parse.
    """
    messages = objects(row.get("prompt"), "prompt")
    if not messages:
        raise BadRow("prompt is empty")
    for message in messages:
        for key in ("role", "content"):
            field(message, key, str, "prompt's ")
        if message.get("tool_calls"):
            raise BadRow("prompt's messages have tool_calls; RLLA's prompts are texts alone")
    truth = field(field(row, "reward_model", dict), "ground_truth", str)
    prompt = tuple({"role": m["role"], "content": m["content"]} for m in messages)
    return _record(prompt, truth, "the ground truth", truth, None)


def read_json(row: dict[str, Any]) -> Record:
    """A row of the JSON.

    Raises:
        BadRow: a field is missing or is something else, or the output does not parse.
    """
    system, user, output = (field(row, key, str) for key in ("instruction", "input", "output"))
    prompt = ({"role": "system", "content": system}, {"role": "user", "content": user})
    return _record(prompt, output, "the output", None, output)


def _record(
    prompt: tuple[dict[str, Any], ...],
    written: str,
    what: str,
    truth: str | None,
    demonstration: str | None,
) -> Record:
    reply = get_dialect("rlla").parse(written)
    if reply.status is not ParseStatus.OK or not (reply.calls or reply.response is not None):
        raise BadRow(f"{what} does not parse ({reply.status})")
    tools = listed_tools(prompt[0]["content"])
    turns = history(prompt[-1]["content"])
    action = Action(reply.calls, reply.response, None if demonstration is None else reply.thought)
    return Record(Dialogue(tools, (*turns, action)), prompt, truth, demonstration)

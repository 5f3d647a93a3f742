"""Questions in the form of BFCL, with their answers in the row.

    {"question": [[{"role": "user", "content": ..}]], "function": [..],
     "ground_truth": [{name: {parameter: [acceptable values]}}]}

BFCL keeps the answers in a file of their own; `possible_answer/<the file's name>` beside the
questions is read where a row has none (see `toolrest.data.sources`). The first acceptable value
becomes the ground truth; a parameter that may be left out, is.
"""

from __future__ import annotations

from typing import Any

from toolrest.data.dialogue import Action, Dialogue, UserTurn
from toolrest.data.formats.json_fields import field, objects, tool
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.dialects import ToolCall

KEYS = frozenset(("question", "function"))


def read(row: dict[str, Any]) -> Record:
    """One question, and the calls that answer it; a question without an answer ends unanswered.

    Raises:
        BadRow: a field is missing or is something else, or the question has several turns.
    """
    question = field(row, "question", list)
    tools = tuple(map(tool, objects(field(row, "function", list), "function")))
    if len(question) != 1:
        raise BadRow(f"a question of {len(question)} turns; only single-turn ones are read")
    said = objects(question[0], "question")
    system = [field(m, "content", str) for m in said if m.get("role") == "system"]
    turns = tuple(
        UserTurn(field(m, "content", str, "a question's "))
        if m.get("role") != "assistant"
        else Action(response=field(m, "content", str, "a question's "))
        for m in said
        if m.get("role") != "system"
    )
    truth = row.get("ground_truth")
    calls = tuple(map(_call, objects(truth, "ground_truth"))) if truth is not None else ()
    last = (Action(calls),) if calls else ()
    return Record(Dialogue(tools, (*turns, *last), "\n".join(system) or None))


def _call(answer: dict[str, Any]) -> ToolCall:
    if len(answer) != 1:
        raise BadRow(f"an answer names {len(answer)} functions, not one")
    ((name, parameters),) = answer.items()
    if not isinstance(parameters, dict):
        raise BadRow(f"the answer of {name} is {type(parameters).__name__}, not an object")
    values = {}
    for key, acceptable in parameters.items():
        listed = acceptable if isinstance(acceptable, list) else [acceptable]
        if listed and "" not in listed:
            values[key] = _first(listed[0])
    return ToolCall(name, values)


def _first(value: Any) -> Any:
    """The parts of a dictionary are lists of acceptable values too."""
    if isinstance(value, dict):
        parts = {
            k: [x for x in (v if isinstance(v, list) else [v]) if x != ""] for k, v in value.items()
        }
        return {key: _first(each[0]) for key, each in parts.items() if each}
    return [_first(item) for item in value] if isinstance(value, list) else value

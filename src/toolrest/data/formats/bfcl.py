"""Questions in the form of BFCL, with their answers in the row.

    {"question": [[{"role": "user", "content": ..}]], "function": [..],
     "ground_truth": [{name: {parameter: [acceptable values]}}]}

BFCL keeps the answers in a file of their own; `possible_answer/<the file's name>` beside the
questions is read where a row has none (see `toolrest.data.sources`). The first acceptable value
becomes the ground truth; a parameter that may be left out, is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Action
from toolrest.data.formats.chat import dialogue
from toolrest.data.formats.json_fields import field, loaded, objects, tools
from toolrest.data.padding import without_nulls
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.errors import kind_of

KEYS = frozenset(("question", "function"))


def read(row: dict[str, Any]) -> Record:
    """One question, and the calls that answer it; a question without an answer ends unanswered.

    Raises:
        BadRow: a field is missing or is something else, or the question has several turns.
    """
    question = field(row, "question", list)
    listed = tools(field(row, "function", list), "function")
    if len(question) != 1:
        raise BadRow(f"a question of {len(question)} turns; only single-turn ones are read")
    asked = dialogue(objects(question[0], "question"), listed)
    truth = loaded(row.get("ground_truth"), "ground_truth")
    calls = tuple(map(_call, objects(truth, "ground_truth"))) if truth is not None else ()
    last = (Action(calls),) if calls else ()
    return Record(replace(asked, turns=(*asked.turns, *last)))


def _call(answer: dict[str, Any]) -> ToolCall:
    answer = without_nulls(answer)  # every value is a list, so that a null is Arrow's
    if len(answer) != 1:
        raise BadRow(f"an answer names {len(answer)} functions, not one")
    ((name, parameters),) = answer.items()
    if not isinstance(parameters, dict):
        raise BadRow(f"the answer of {name} is {kind_of(parameters)}, not an object")
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

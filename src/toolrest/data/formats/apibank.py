"""API-Bank's processed rows.

{"system": text, "user": text, "answer": [{name, parameters}] or one bare}
"""

from __future__ import annotations

from typing import Any

from toolrest.data.dialogue import Action, Dialogue
from toolrest.data.formats.json_fields import by_name, call, field, loaded, objects
from toolrest.data.formats.rlla_text import history, listed_tools
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

ONE_CALL = "Based on our conversation above, please only make one tool call to solve my need."
"""What the user of every row says last; no part of the question."""
KEYS = frozenset(("system", "user", "answer"))


def read(row: dict[str, Any]) -> Record:
    """A prompt in RLLA's wording, and its one call.

    Raises:
        BadRow: a field is missing or is something else.
    """
    system, user = field(row, "system", str), field(row, "user", str)
    answer = loaded(row.get("answer"), "answer")
    answers = objects(answer if isinstance(answer, list) else [answer], "answer")
    if not answers:
        raise BadRow("answer is empty")
    tools = listed_tools(system)
    for each in answers:
        field(each, "parameters", object, "a call's ")
    known = by_name(tools)
    calls = tuple(call(each, "parameters", known) for each in answers)
    prompt = ({"role": "system", "content": system}, {"role": "user", "content": user})
    turns = (*history(user), Action(calls))
    return Record(Dialogue(tools, turns), prompt)

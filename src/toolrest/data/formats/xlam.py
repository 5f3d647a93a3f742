"""xLAM function-calling 60k (Salesforce/xlam-function-calling-60k).

{"query": text, "tools": JSON of [{name, description, parameters: {p: {type, ..}}}],
 "answers": JSON of [{name, arguments}]}
"""

from __future__ import annotations

from typing import Any

from toolrest.data.dialogue import Action, Dialogue, UserTurn
from toolrest.data.formats.json_fields import by_name, call, field, loaded, objects, tools
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

KEYS = frozenset(("query", "tools", "answers"))


def read(row: dict[str, Any]) -> Record:
    """One question, and the calls that answer it.

    Raises:
        BadRow: a field is missing or is something else.
    """
    query = field(row, "query", str)
    listed = tools(field(row, "tools", object))
    answers = objects(loaded(row.get("answers"), "answers"), "answers")
    if not answers:
        raise BadRow("answers is empty")
    known = by_name(listed)
    calls = tuple(call(answer, "arguments", known) for answer in answers)
    return Record(Dialogue(listed, (UserTurn(query), Action(calls))))

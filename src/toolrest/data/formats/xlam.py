"""xLAM function-calling 60k (Salesforce/xlam-function-calling-60k).

{"query": text, "tools": JSON of [{name, description, parameters: {p: {type, ..}}}],
 "answers": JSON of [{name, arguments}]}
"""

from __future__ import annotations

from typing import Any

from toolrest.data.dialogue import Action, Dialogue, UserTurn
from toolrest.data.formats.json_fields import call, field, loaded, objects, tool
from toolrest.data.record import Record
from toolrest.data.rows import BadRow

KEYS = frozenset(("query", "tools", "answers"))


def read(row: dict[str, Any]) -> Record:
    """One question, and the calls that answer it.

    Raises:
        BadRow: a field is missing or is something else.
    """
    query = field(row, "query", str)
    tools = tuple(map(tool, objects(loaded(row.get("tools"), "tools"), "tools")))
    answers = objects(loaded(row.get("answers"), "answers"), "answers")
    if not answers:
        raise BadRow("answers is empty")
    calls = tuple(call(answer, "arguments") for answer in answers)
    return Record(Dialogue(tools, (UserTurn(query), Action(calls))))

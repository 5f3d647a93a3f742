"""Reads rows that `toolrest data prepare` has written."""

from __future__ import annotations

from typing import Any

from toolrest.data.decompose import Rendering
from toolrest.data.formats.json_fields import field, loaded, objects
from toolrest.data.json_text import plain
from toolrest.data.rows import BadRow
from toolrest.data.sample import Sample
from toolrest.errors import InputError, kind_of

KEYS = frozenset(("prompt", "reward_model", "dialect"))
"""The columns that mark a prepared file."""


def prepared_sample(row: dict[str, Any], rendering: Rendering, name: str, number: int) -> Sample:
    """The sample of a prepared row.

    Args:
        name: of the file.
        number: of the row in it.

    Raises:
        BadRow: a field is missing or is something else.
        InputError: it was written for another dialect.
    """
    if row["dialect"] != rendering.dialect:
        raise InputError(
            f"data {name}: prepared for dialect={str(row['dialect'])[:100]}, and the recipe has "
            f"dialect={rendering.dialect}; prepare the rows that it was made of again, with "
            f"toolrest data prepare dialect={rendering.dialect}"
        )
    messages = row.get("messages")
    prompt = row["prompt"] if messages is None else loaded(messages, "messages")
    prompt = objects(prompt, "prompt")
    if not prompt:
        raise BadRow("prompt is empty")
    for message in prompt:
        field(message, "role", str, "prompt's ")
        if message.get("content") is not None:
            field(message, "content", str, "prompt's ")
    tools, names = loaded(row.get("tools"), "tools"), loaded(row.get("true_names"), "true_names")
    extra = row.get("extra_info")
    extra = extra if isinstance(extra, dict) else {}
    demonstration = row.get("demonstration")
    if names is not None and not (
        isinstance(names, dict) and all(isinstance(true, str) for true in names.values())
    ):
        raise BadRow("true_names is not an object of names")
    if demonstration is not None and not isinstance(demonstration, str):
        raise BadRow(f"demonstration is {kind_of(demonstration)}, not a text")
    return Sample(
        prompt=tuple(map(plain, prompt)),
        ground_truth=field(field(row, "reward_model", dict), "ground_truth", str),
        source=str(row.get("data_source") or name),
        identity=str(extra.get("identity") or number),
        demonstration=demonstration,
        tools=None if tools is None else tuple(map(plain, objects(tools, "tools"))),
        true_names=names,
        declared=tuple(
            map(plain, objects(loaded(row.get("declared") or [], "declared"), "declared"))
        ),
        group=str(extra.get("group") or ""),
        row=str(number),
    )

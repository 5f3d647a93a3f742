"""Reads rows that `toolrest data prepare` has written."""

from __future__ import annotations

import json
from typing import Any

from toolrest.data.decompose import Rendering
from toolrest.data.formats.json_fields import field, loaded, objects
from toolrest.data.json_text import plain
from toolrest.data.rows import BadRow
from toolrest.data.sample import Sample
from toolrest.errors import InputError, kind_of, short

KEYS = frozenset(("prompt", "reward_model", "dialect"))
"""The columns that mark a prepared file."""


_KEYS = {
    "style": "data.prompt",
    "think": "data.think",
    "thoughts": "data.thoughts",
    "thought_sentences": "data.thought_sentences",
}
"""The recipe's keys of what a row says of its wording."""


def prepared_sample(row: dict[str, Any], rendering: Rendering, name: str, number: int) -> Sample:
    """The sample of a prepared row.

    Args:
        name: of the file.
        number: of the row in it.

    Raises:
        BadRow: a field is missing or is something else.
        InputError: it was written for another dialect, or worded in another way.
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
    worded = row_wording(row)
    _check_wording(worded or {}, rendering, name)
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
        worded=worded,
        row=str(number),
    )


def row_wording(row: dict[str, Any]) -> dict[str, Any] | None:
    """The settings that a row was worded by, as far as it tells; see `Sample.worded`.

    Raises:
        BadRow: what it says is none of them.
    """
    found = loaded(row.get("wording"), "wording")
    if found is None:  # a file of before this was kept: tools stand apart in one wording alone
        return {"style": "template"} if loaded(row.get("tools"), "tools") else None
    if not isinstance(found, dict) or not found.keys() <= _KEYS.keys():
        raise BadRow(f"wording is {short(found)}, which names none of {', '.join(_KEYS)}")
    return found


def settings_of(rendering: Rendering) -> list[str]:
    """The settings, as `KEY=VALUE`, that `toolrest data prepare` has to be given to word so; what
    is open, or as usual whatever the dialect, is left out.
    """
    usual = Rendering()
    told = {
        key: getattr(rendering, key)
        for key in _KEYS
        if key not in rendering.open
        and (key in ("style", "think") or getattr(rendering, key) != getattr(usual, key))
    }
    return [f"dialect={rendering.dialect}", *_written(told).split()]


def _check_wording(worded: dict[str, Any], rendering: Rendering, name: str) -> None:
    """Refuse a row that the run would have worded otherwise.

    Raises:
        InputError: it would.
    """
    style = worded.get("style", rendering.style)
    others = {
        key: value
        for key, value in worded.items()
        if key not in rendering.open
        and _plainly(style, key, value) != _plainly(style, key, getattr(rendering, key))
    }
    if not others:
        return
    wanted = _written({key: getattr(rendering, key) for key in others})
    listed = ", where the policy's chat template lists tools,"
    where = listed if others.get("style") == "template" else ""
    raise InputError(
        f"data {name}: prepared with {_written(others)}, and this run would word its rows with "
        f"{wanted}; prepare the rows that it was made of again, with toolrest data prepare "
        f"{' '.join(settings_of(rendering))}, or{where} set {_written(others)}"
    )


def _plainly(style: str, key: str, value: Any) -> Any:
    """A setting's value; one for those that word alike."""
    alike = key == "thoughts" and value == "placeholder" and style != "rlla"
    return "none" if alike else value


def _written(settings: dict[str, Any]) -> str:
    return " ".join(
        f"{_KEYS[key]}={value if isinstance(value, str) else json.dumps(value)}"[:100]
        for key, value in settings.items()
    )

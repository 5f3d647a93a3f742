"""BFCL's function descriptions as tools of a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from toolrest.data.dialogue import Tool

_TYPES = {
    **dict.fromkeys(("dict", "HashMap", "Hashtable"), "object"),
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("tuple", "list", "ArrayList", "Array", "Queue", "Stack"), "array"),
    **dict.fromkeys(("any", "Any", "char", "String"), "string"),
    **dict.fromkeys(("long", "short", "byte", "Bigint"), "integer"),
    "bool": "boolean",
}
"""JSON schema's name of BFCL's types."""
_LANGUAGES = {"java": "Java", "javascript": "JavaScript"}
_SYNTAX = {"Java": "Java 8 SDK", "JavaScript": "JavaScript"}


def language(category: str) -> str | None:
    """The language in whose syntax a category's values are written, if not Python's."""
    return _LANGUAGES.get(category.removeprefix("simple_"))


def to_tools(functions: Iterable[dict[str, Any]], category: str) -> tuple[Tool, ...]:
    """Convert to tools with types of JSON schema.

    Values of Java and JavaScript are asked for as strings in that language's syntax, which is what
    the official checker reads.
    """
    spoken = language(category)
    return tuple(
        Tool(f["name"], f["description"], _schema(f["parameters"]))
        if spoken is None
        else Tool(
            f["name"],
            f"{f['description']} Note that the provided function is in {_SYNTAX[spoken]} syntax.",
            _as_text(f["parameters"], spoken),
        )
        for f in functions
    )


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    made = dict(value)
    if isinstance(made.get("type"), str):
        made["type"] = _TYPES.get(made["type"], made["type"])
    if isinstance(made.get("items"), dict):
        made["items"] = _schema(made["items"])
    if isinstance(made.get("properties"), dict):
        made["properties"] = {
            name: _schema(each) if isinstance(each, dict) else each
            for name, each in made["properties"].items()
        }
    return made


def _as_text(parameters: dict[str, Any], spoken: str) -> dict[str, Any]:
    properties = {}
    for name, each in parameters["properties"].items():
        kind = each["type"]
        what = f"any {spoken} object" if kind == "any" else f"a {spoken} {kind}"
        note = f" This is {what}, written as a string in {spoken} syntax."
        if isinstance(each.get("items"), dict):
            note += f" Its elements are of type {each['items'].get('type')}."
        if "properties" in each:
            note += f" Its entries: {json.dumps(each['properties'])}."
        properties[name] = {"type": "string", "description": each.get("description", "") + note}
    return {
        "type": "object",
        "properties": properties,
        "required": parameters.get("required", []),
    }

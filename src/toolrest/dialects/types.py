"""The types that tools declare, for dialects that write a value as text without quotes.

    <parameter=days>
    12
    </parameter>

Is this 12 or "12"? The tool's JSON schema says it; without one, a text that is JSON, or one of
Python's words `True`, `False` and `None` (which many chat templates write), is that value.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Tools = Sequence[Mapping[str, Any]] | Mapping[str, Any] | None
"""Tools in OpenAI's form, {"type": "function", "function": {..}}, or bare, {name, description,
parameters}; or what `declared` made of them."""

_WORDS = {"True": True, "False": False, "None": None}
_UNREADABLE = (ValueError, SyntaxError, MemoryError, RecursionError)
_DEEPEST = 16
"""References that are followed one after the other."""
_NO_TYPES: frozenset[str] = frozenset()


class Declared(dict[str, Mapping[str, Any]]):
    """JSON schemas of parameters by the tool's name."""


def declared(tools: Tools) -> Declared:
    """The schemas of the tools' parameters; what is no tool is left out. Made once, it can be given
    wherever tools are.
    """
    if isinstance(tools, Declared):
        return tools
    found = Declared()
    for each in tools if isinstance(tools, Sequence) and not isinstance(tools, str) else ():
        inner = each.get("function") if isinstance(each, Mapping) else None
        tool = inner if isinstance(inner, Mapping) else each
        name = tool.get("name") if isinstance(tool, Mapping) else None
        schema = tool.get("parameters") if isinstance(name, str) else None
        if isinstance(name, str) and isinstance(schema, Mapping):
            found[name] = schema
    return found


def read_value(text: str, tool: str, parameter: str, tools: Tools) -> Any:
    """The value that a text stands for.

    A text fits a declared type other than string if it is JSON, or a literal of Python, of that
    type. Where a string is declared too, or nothing else fits, the text itself is the value.

    Args:
        tool: whose parameter it is.
        tools: None: no type is known.
    """
    schema = declared(tools).get(tool, {})
    properties = schema.get("properties")
    own = properties.get(parameter) if isinstance(properties, Mapping) else None
    types = frozenset(_types(own, schema, 0))
    if types == {"string"}:
        return text
    known, value = _loaded(text, bool(types & {"array", "object"}))
    if not known:
        return text
    if (
        not types
        or _type_of(value) in types
        or (_type_of(value) == "integer" and "number" in types)
    ):
        return value
    return text if "string" in types else value


def _loaded(text: str, literals: bool) -> tuple[bool, Any]:
    """Whether a text is a value other than a string, and which.

    Args:
        literals: whether lists and dictionaries may be written as Python writes them.
    """
    bare = text.strip(" \t\r\n")
    if bare in _WORDS:
        return True, _WORDS[bare]
    try:
        value = json.loads(bare, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        if not literals or not bare.startswith(("[", "{")):
            return False, None
        try:
            with warnings.catch_warnings(action="ignore"):
                value = ast.literal_eval(bare)
            json.dumps(value, allow_nan=False)
        except (*_UNREADABLE, TypeError):
            return False, None
    return not isinstance(value, str), value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return "object" if isinstance(value, dict) else "array"


_ALIASES = {
    **dict.fromkeys(("str", "text"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double"), "number"),
    "bool": "boolean",
    **dict.fromkeys(("list", "tuple"), "array"),
    "dict": "object",
    **dict.fromkeys(("none", "nonetype"), "null"),
}
_JSON_TYPES = frozenset(("string", "integer", "number", "boolean", "array", "object", "null"))


def _types(schema: Any, root: Mapping[str, Any], depth: int) -> Iterator[str]:
    """The JSON types that a schema allows, as far as it says so."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    named = schema.get("type")
    for each in named if isinstance(named, list) else [named]:
        if isinstance(each, str):
            bare = each.split(",")[0].strip().lower()
            kind = _ALIASES.get(bare, bare)
            if kind in _JSON_TYPES:
                yield kind
    if schema.get("nullable") is True:
        yield "null"
    choices = schema.get("enum")
    if named is None and isinstance(choices, list):
        yield from ("string" if isinstance(each, str) else _type_of(each) for each in choices)
    if named is None and "const" in schema:
        value = schema["const"]
        yield "string" if isinstance(value, str) else _type_of(value)
    for key in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(key)
        for part in parts if isinstance(parts, list) else ():
            yield from _types(part, root, depth + 1)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _types(_referred(reference, root), root, depth + 1)


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """What `#/$defs/Name` names in the tool's schema; None where it names nothing."""
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found

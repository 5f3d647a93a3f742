"""Declared types of parameters, for dialects that write values as plain text.

    <parameter=days>
    12
    </parameter>

Is this 12 or "12"? The tool's JSON schema says it; without one, a text that is JSON, or one of
Python's words `True`, `False` and `None` (which many chat templates write), is that value. Where a
list or an object is declared, Python's literals of them are read too.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Tools = Sequence[Mapping[str, Any]] | Mapping[str, Any] | None
"""Tools in OpenAI's form, {"type": "function", "function": {..}}, or bare, {name, description,
parameters}; or what `declared` made of them."""

_WORDS = {"True": True, "False": False, "None": None}
_UNREADABLE = (ValueError, SyntaxError, MemoryError, RecursionError)
_ALIASES = {
    **dict.fromkeys(("str", "text"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double"), "number"),
    "bool": "boolean",
    **dict.fromkeys(("list", "tuple", "set"), "array"),
    "dict": "object",
    **dict.fromkeys(("none", "nonetype"), "null"),
}
_JSON_TYPES = frozenset(("string", "integer", "number", "boolean", "array", "object", "null"))
_INNERMOST = re.compile(r"\[[^\[\]]*+\]")
_INSIDE = re.compile(r"[\[(,]")
_PARTS = ("anyOf", "oneOf", "allOf")


class Declared(dict[str, Mapping[str, Any]]):
    """JSON schemas of parameters by the tool's name."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, tuple[dict[str, frozenset[str]], frozenset[str]]] = {}

    def types(self, tool: str, parameter: str) -> frozenset[str]:
        """The JSON types of a parameter; empty if none are declared."""
        if tool not in self:
            return frozenset()
        if tool not in self._known:
            self._known[tool] = _signature(self[tool])
        named, others = self._known[tool]
        return named.get(parameter, others)


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
        if isinstance(name, str):
            schema = tool.get("parameters")
            found[name] = schema if isinstance(schema, Mapping) else {}
    return found


def read_value(text: str, tool: str, parameter: str, tools: Tools) -> Any:
    """Parse a parameter's text by its declared types. Never raises; linear time.

    A text fits a declared type other than string if it is a value of that type. Where it fits none,
    the text itself is the value if a string is declared, else what it would be without a schema.

    Args:
        tool: whose parameter it is.
        tools: None: no type is known.
    """
    types = declared(tools).types(tool, parameter)
    if types == {"string"}:
        return text
    known, value = _loaded(text, bool(types & {"array", "object"}))
    if not known:
        return text
    return value if "string" not in types or _fits(value, types) else text


def _fits(value: Any, types: frozenset[str]) -> bool:
    kind = _type_of(value)
    return kind in types or (kind == "integer" and "number" in types)


def _loaded(text: str, literals: bool) -> tuple[bool, Any]:
    """Whether a text is a value other than a string, and which.

    Args:
        literals: whether lists and dictionaries may be written as Python writes them.
    """
    bare = text.strip(" \t\r\n")
    if bare in _WORDS:
        return True, _WORDS[bare]
    try:
        value = json.loads(bare, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        return _literal(bare) if literals and bare.startswith(("[", "{")) else (False, None)
    return not isinstance(value, str), value


def _literal(text: str) -> tuple[bool, Any]:
    """The same for a list or a dictionary as Python writes it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return True, as_json(ast.literal_eval(text))
    except _UNREADABLE:
        return False, None


def as_json(value: Any) -> Any:
    """Convert a Python literal to a JSON value; a tuple becomes a list.

    Raises:
        ValueError: it is none, such as a set, bytes or infinity.
        RecursionError: it is too deep.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON value")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: as_json(item) for key, item in value.items()}
    raise ValueError(f"{type(value).__name__} is not a JSON value")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _type_of(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return "object" if isinstance(value, Mapping) else "array"


def _signature(schema: Mapping[str, Any]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    """The types of the parameters that a tool's schema names, and those of all others."""
    named: dict[str, set[str]] = {}
    others: set[str] = set()
    for part in _parts(schema, schema):
        for name, own in _mapping(part, "properties").items():
            named.setdefault(name, set()).update(_types(own, schema))
        patterns = _mapping(part, "patternProperties")
        for own in (part.get("additionalProperties"), *patterns.values()):
            others.update(_types(own, schema))
    return {name: frozenset(types) for name, types in named.items()}, frozenset(others)


def _types(schema: Any, root: Mapping[str, Any]) -> Iterator[str]:
    """The JSON types that a schema allows, as far as it says so."""
    for part in _parts(schema, root):
        named = part.get("type")
        for each in named if isinstance(named, list) else [named]:
            if isinstance(each, str):
                yield from _named(each)
        if part.get("nullable") is True:
            yield "null"
        if named is None:
            choices = part.get("enum")
            listed = choices if isinstance(choices, list) else []
            yield from (_type_of(each) for each in listed)
            if "const" in part:
                yield _type_of(part["const"])


def _named(written: str) -> Iterator[str]:
    """The types that a name stands for: JSON schema's, and Python's as data sets write them, such
    as `str, optional`, `List[int]`, `int | None` and `Union[int, float]`.
    """
    head, _, inside = written.partition("[")
    outer = head.strip().lower()
    if outer == "optional":
        yield "null"
    parts = written.split("|")
    if outer in ("optional", "union"):
        parts = _INNERMOST.sub("", inside.strip().removesuffix("]")).split(",")
    for part in parts:
        bare = _INSIDE.split(part, maxsplit=1)[0].strip().lower()
        kind = _ALIASES.get(bare, bare)
        if kind in _JSON_TYPES:
            yield kind


def _parts(schema: Any, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schema and all that says something of the same value: what its `$ref` names, and its
    alternatives. Each once, so that schemas that name themselves end.
    """
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for key in _PARTS:
            listed = part.get(key)
            waiting += listed if isinstance(listed, list) else []
        if isinstance(part.get("$ref"), str):
            waiting.append(_referred(part["$ref"], root))


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    """What `#/$defs/Name` names in the tool's schema; None where it names nothing."""
    start, *steps = reference.split("/")
    found: Any = root if start == "#" else None
    for step in steps:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _mapping(schema: Mapping[str, Any], key: str) -> Mapping[Any, Any]:
    inner = schema.get(key)
    return inner if isinstance(inner, Mapping) else {}

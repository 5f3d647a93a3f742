"""Fields of a row, each of which must be what its format says."""

from __future__ import annotations

import json
from typing import Any

from toolrest.data.dialogue import Tool
from toolrest.data.rows import BadRow
from toolrest.dialects import ToolCall
from toolrest.naming import short


def field(row: dict[str, Any], name: str, kind: type, where: str = "") -> Any:
    """A field of that kind.

    Raises:
        BadRow: it is not there, or is something else.
    """
    label = f"{where}{name}"
    if name not in row or row[name] is None:
        raise BadRow(f"there is no {label}; the row has {', '.join(sorted(row)) or 'nothing'}")
    value = row[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadRow(f"{label} is {type(value).__name__}, not {kind.__name__}")
    return value


def loaded(value: Any, name: str) -> Any:
    """A JSON value, from its text where it is one.

    Raises:
        BadRow: the text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{name} is not JSON ({str(error) or type(error).__name__})") from error


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects.

    Raises:
        BadRow: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRow(f"{name} is not a list of objects")
    return value


def tool(value: dict[str, Any]) -> Tool:
    """A tool from {name, description, parameters}, bare or as OpenAI's `function`.

    `parameters` is a JSON schema, or by name {type, description, default}; in the latter, a type
    that says "optional" or a default makes the parameter optional.

    Raises:
        BadRow: no name, or parameters that are no object.
    """
    inner = value.get("function")
    value = inner if isinstance(inner, dict) else value
    name = field(value, "name", str, "a tool's ")
    parameters = loaded(value.get("parameters") or {}, "a tool's parameters")
    if not isinstance(parameters, dict):
        raise BadRow(f"the parameters of {name} are {type(parameters).__name__}, not an object")
    return Tool(name, str(value.get("description") or ""), _schema(parameters, name))


def _schema(parameters: dict[str, Any], tool_name: str) -> dict[str, Any]:
    properties = parameters.get("properties")
    if isinstance(properties, dict):
        return _checked(parameters, properties, tool_name)
    by_name = {k: v for k, v in parameters.items() if isinstance(v, dict) and isinstance(k, str)}
    if not by_name:
        return {"type": "object", "properties": {}}
    required = [
        name
        for name, each in by_name.items()
        if "optional" not in str(each.get("type", "")) and each.get("default") in (None, "")
    ]
    return {"type": "object", "properties": by_name, "required": required}


def _checked(
    parameters: dict[str, Any], properties: dict[Any, Any], tool_name: str
) -> dict[str, Any]:
    """The schema, if its parameters are objects; parquet's nulls are left out, `true` is any."""
    kept: dict[str, Any] = {}
    for key, each in properties.items():
        if each is True:
            kept[key] = {}
        elif isinstance(each, dict) and isinstance(key, str):
            kept[key] = each
        elif each is not None:
            raise BadRow(
                f"the parameter {short(key)} of {tool_name} is {type(each).__name__}, not an object"
            )
    required = parameters.get("required")
    listed = required if isinstance(required, list) else []
    if not all(isinstance(key, str) for key in listed):
        raise BadRow(f"what {tool_name} requires is not a list of names")
    return parameters | {"properties": kept}


def call(value: dict[str, Any], key: str) -> ToolCall:
    """A call from {name, <key>: object or its JSON text}.

    Raises:
        BadRow: it is something else.
    """
    name = field(value, "name", str, "a call's ")
    if value.get(key) is None:
        raise BadRow(f"the call of {name} has no {key}")
    arguments = loaded(value[key], f"a call's {key}")
    if not isinstance(arguments, dict):
        raise BadRow(f"the {key} of {name} are {type(arguments).__name__}, not an object")
    return ToolCall(name, arguments)

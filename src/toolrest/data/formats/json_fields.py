"""Typed access to the fields of a row.

Wherever an object or a list of them is expected, its JSON text is one too: a cell of a CSV file, an
item of a list as `datasets` keeps `List(Json())`, arguments as OpenAI's interface writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Tool
from toolrest.data.json_text import from_json, parsed
from toolrest.data.padding import unpadded, without_nulls
from toolrest.data.rows import BadRow
from toolrest.data.schema import required
from toolrest.errors import kind_of, short

SCHEMAS = ("parameters", "input_schema", "inputSchema")
"""Where a tool has its schema: OpenAI's name, Anthropic's, MCP's."""


def field(row: dict[str, Any], name: str, kind: type, where: str = "") -> Any:
    """The field `name`, which must be of type `kind`.

    Raises:
        BadRow: it is not there, or is something else.
    """
    label = f"{where}{name}"
    if name not in row or row[name] is None:
        raise BadRow(f"there is no {label}; the row has {', '.join(sorted(row)) or 'nothing'}")
    value = parsed(row[name]) if kind in (dict, list) else row[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadRow(f"{label} is {kind_of(row[name])}, not {kind_of(kind())}")
    return value


def loaded(value: Any, name: str) -> Any:
    """A JSON value, from its text where it is one.

    Raises:
        BadRow: the text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{name} is not JSON ({str(error) or type(error).__name__})") from error


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """Check that a value is a list of objects, and return it.

    Raises:
        BadRow: it is something else.
    """
    listed = parsed(value)
    if isinstance(listed, list):
        listed = [parsed(item) for item in listed]
        if all(isinstance(item, dict) for item in listed):
            return listed
    text = ", nor the JSON text of one" if isinstance(value, str) else ""
    raise BadRow(f"{name} is not a list of objects{text}")


def tools(value: Any, name: str = "tools") -> tuple[Tool, ...]:
    """Parse the tools of a row; empty if there are none.

    Raises:
        BadRow: it is something else than a list of tools.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if not isinstance(value, str):
        return tuple(map(tool, objects(value, name)))
    listed = _of_text(value, name)
    if listed is None:
        return ()
    if isinstance(listed, list) and all(type(each) is dict for each in listed):
        return tuple(tool(each, written=True) for each in listed)
    return tuple(map(tool, objects(listed, name)))


def _of_text(text: str, name: str) -> Any:
    """The value of a JSON text, where it is known to be one, and nothing else needs to know it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{name} is not JSON ({str(error) or type(error).__name__})") from error


def tool(value: dict[str, Any], *, written: bool = False) -> Tool:
    """Parse a tool from {name, description, parameters}, bare or as OpenAI's `function`.

    `parameters` is a JSON schema, which stays as it is, or clearly a map of parameters: by name
    {type, description, default}, where a type that says "optional" or a default makes the parameter
    optional.

    Args:
        written: whether it comes from a JSON text, so that no null is Arrow's.

    Raises:
        BadRow: no name, or parameters that are no object or stand under another key.
    """
    inner = parsed(value.get("function"))
    value = inner if isinstance(inner, dict) else value
    value = value if written else without_nulls(value)
    name = field(value, "name", str, "a tool's ")
    given = next((value[key] for key in SCHEMAS if value.get(key)), None)
    parameters = _of_text(given, "a tool's parameters") if isinstance(given, str) else given
    if parameters is None:
        _check_no_schema(value, name)
        parameters = {}
    if not isinstance(parameters, dict):
        raise BadRow(f"the parameters of {name} are {kind_of(parameters)}, not an object")
    return Tool(name, str(value.get("description") or ""), _schema(parameters, name))


_INPUTS = re.compile(r"param|^arg|input|propert|^schema|args_schema", re.IGNORECASE)
_OUTPUTS = re.compile(r"output|return|respon|result", re.IGNORECASE)


def _check_no_schema(value: dict[str, Any], name: str) -> None:
    """That a tool without parameters has none under another key."""
    for key, each in value.items():
        inputs = key not in SCHEMAS and _INPUTS.search(key) and not _OUTPUTS.search(key)
        if inputs and each and isinstance(parsed(each), dict | list):
            raise BadRow(
                f"the tool {name} has no parameters but {short(key)}, which would be ignored; call "
                "it parameters"
            )


_ONLY_IN_SCHEMAS = frozenset(
    (
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties"),
        *("propertyNames", "dependentSchemas", "$defs", "definitions", "not", "if", "then", "else"),
    )
)
"""Words whose value is an object in a schema, and that nobody calls a parameter."""


def _is_map(parameters: dict[Any, Any]) -> bool:
    """Whether it can be nothing but parameters by name: no value but what declares one."""
    return all(
        isinstance(each, dict) and key not in _ONLY_IN_SCHEMAS for key, each in parameters.items()
    ) and any(
        isinstance(each.get(word), str)
        for each in parameters.values()
        for word in ("type", "description")
    )


def _schema(parameters: dict[str, Any], tool_name: str) -> dict[str, Any]:
    if _is_map(parameters):
        needed = [
            name
            for name, each in parameters.items()
            if "optional" not in str(each.get("type", "")) and each.get("default") in (None, "")
        ]
        return {"type": "object", "properties": parameters, "required": needed}
    if not parameters:
        return {"type": "object", "properties": {}}
    properties = parameters.get("properties")
    if properties is None:
        return parameters
    if not isinstance(properties, dict):
        kind = kind_of(properties)
        raise BadRow(f"the properties of {tool_name}'s parameters are {kind}, not an object")
    return _checked(parameters, properties, tool_name)


def _checked(
    parameters: dict[str, Any], properties: dict[Any, Any], tool_name: str
) -> dict[str, Any]:
    """The schema, if its parameters are schemas; a null is none and is left out."""
    for key, each in properties.items():
        if each is not None and not isinstance(each, dict | bool):
            raise BadRow(
                f"the parameter {short(key)} of {tool_name} is {kind_of(each)}, not an object"
            )
    listed = parameters.get("required")
    if isinstance(listed, list) and not all(isinstance(key, str) for key in listed):
        raise BadRow(f"what {tool_name} requires is not a list of names")
    kept = {key: each for key, each in properties.items() if each is not None}
    return parameters | {"properties": kept}


def call(value: dict[str, Any], key: str, listed: Mapping[str, Tool]) -> ToolCall:
    """Parse a call from {name, <key>: object or its JSON text}.

    Nothing, "", null and [] are no arguments, where the tool asks for none. A JSON text stays as it
    is; from an object the nulls that Arrow added are taken (see `toolrest.data.padding`).

    Args:
        listed: the row's tools by name.

    Raises:
        BadRow: it is something else, or has its arguments under another key.
    """
    name = field(value, "name", str, "a call's ")
    given = value.get(key)
    if isinstance(given, str):
        given = loaded(given, f"a call's {key}") if given.strip() else None
        # the text of a text: what wrote it made JSON of it twice
        given = loaded(given, f"a call's {key}") if isinstance(given, str) and given else given
    schema = listed[name].parameters if name in listed else {}
    if given is None or given in ("", [], {}):
        _check_no_arguments(value, name, key)
    if given is None or given == "" or given == []:
        needed = required(schema, schema)
        if needed:
            raise BadRow(f"the call of {name} has no {key}, and it requires {', '.join(needed)}")
        given = {}
    if not isinstance(given, dict):
        raise BadRow(f"the {key} of {name} are {kind_of(given)}, not an object")
    return ToolCall(name, unpadded(given, schema, schema))


def _check_no_arguments(value: dict[str, Any], name: str, key: str) -> None:
    """That a call without arguments has none under another key."""
    for other, each in value.items():
        if other not in ("name", "id", key) and parsed(each) and isinstance(parsed(each), dict):
            raise BadRow(
                f"the call of {name} has no {key} but {short(other)}, which would be ignored; "
                f"call it {key}"
            )


def by_name(listed: tuple[Tool, ...]) -> dict[str, Tool]:
    """{name: tool}."""
    return {each.name: each for each in listed}


def as_text(value: Any) -> str:
    """The JSON text of a value.

    Raises:
        BadRow: JSON has none for it.
    """
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadRow(f"a value that JSON cannot write ({error})") from error

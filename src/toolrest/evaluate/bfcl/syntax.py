"""JSON values in the syntax of Java and JavaScript, which BFCL's checker reads from strings."""

from __future__ import annotations

from typing import Any

_JAVA_SUFFIX = {"long": "L", "float": "f"}


def in_syntax(call: dict[str, Any], properties: dict[str, Any], language: str) -> dict[str, Any]:
    """A call's values as that language writes them.

    A string stays as it is: the prompt asks for strings that hold the value's source. Anything
    else, which a policy writes that takes JSON for the language's own values, is written out.

    Args:
        call: values by parameter.
        properties: the function's parameters, each with BFCL's `type` and, for some, `items`.
    """
    return {
        name: value if isinstance(value, str) else _write(value, properties.get(name), language)
        for name, value in call.items()
    }


def _write(value: Any, schema: Any, language: str) -> str:
    schema = schema if isinstance(schema, dict) else {}
    java = language == "Java"
    kind = schema.get("type")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value, kind, java)
    if isinstance(value, list):
        return _list([_element(v, schema.get("items"), language) for v in value], kind, java)
    if isinstance(value, dict):
        return _dict({k: _element(v, None, language) for k, v in value.items()}, java)
    return str(value)


def _number(value: int | float, kind: str | None, java: bool) -> str:
    if java and kind in ("float", "double"):
        value = float(value)
    suffix = _JAVA_SUFFIX.get(kind or "", "") if java else "n" if kind == "Bigint" else ""
    return f"{value}{suffix}"


def _element(value: Any, schema: Any, language: str) -> str:
    """Inside a collection a string is quoted."""
    if isinstance(value, str):
        return f'"{value}"'
    return _write(value, schema, language)


def _list(elements: list[str], kind: str | None, java: bool) -> str:
    inside = ", ".join(elements)
    if not java:
        return f"[{inside}]"
    if kind == "ArrayList":
        return f"new ArrayList<>(Arrays.asList({inside}))" if elements else "new ArrayList<>()"
    return f"new Object[]{{{inside}}}"


def _dict(members: dict[str, str], java: bool) -> str:
    if not java:
        return "{" + ", ".join(f'"{key}": {value}' for key, value in members.items()) + "}"
    puts = " ".join(f'put("{key}", {value});' for key, value in members.items())
    return f"new HashMap<String, Object>() {{{{ {puts} }}}}" if members else "new HashMap<>()"

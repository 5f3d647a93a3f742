"""Queries of JSON schemas: allowed types, properties, items.

Only what is certain is said: a type that is not known admits everything, and so does a `$ref` that
leads nowhere. The names of types are those of JSON schema and of Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("string", "str"), (str,)),
    **dict.fromkeys(("integer", "int"), (int,)),
    **dict.fromkeys(("number", "float"), (int, float)),
    **dict.fromkeys(("boolean", "bool"), (bool,)),
    **dict.fromkeys(("array", "list"), (list,)),
    **dict.fromkeys(("object", "dict"), (dict,)),
    "null": (type(None),),
}
_EITHER = ("anyOf", "oneOf")


def admits(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value is of a type that the schema allows.

    `type`, `nullable`, `anyOf`, `oneOf`, `allOf` and `$ref` are looked at; of `enum` and `const`
    only whether they have null.

    Args:
        root: the whole schema, which `$ref` looks into.
    """
    return _admits(value, schema, root, {})


def _admits(value: Any, schema: Any, root: Any, seen: dict[str, bool]) -> bool:
    if not isinstance(schema, dict):
        return schema is not False
    if value is None and schema.get("nullable") is True:
        return True
    if not _of_type(value, schema.get("type")):
        return False
    if value is None and not _lists_null(schema):
        return False
    for word in _EITHER:
        options = _listed(schema, word)
        if options and not any(_admits(value, each, root, seen) for each in options):
            return False
    if not all(_admits(value, each, root, seen) for each in _listed(schema, "allOf")):
        return False
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return True
    if reference not in seen:
        seen[reference] = True  # one that leads back to itself says nothing
        seen[reference] = _admits(value, target(reference, root), root, seen)
    return seen[reference]


def _of_type(value: Any, declared: Any) -> bool:
    if isinstance(declared, list):
        return not declared or any(_of_type(value, each) for each in declared)
    if not isinstance(declared, str):
        return True
    kinds = _TYPES.get(declared.split(",")[0].strip().lower())
    if kinds is None:
        return True
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _lists_null(schema: dict[str, Any]) -> bool:
    listed = schema.get("enum")
    if isinstance(listed, list) and None not in listed:
        return False
    return schema.get("const") is None


def _listed(schema: dict[str, Any], word: str) -> list[Any]:
    options = schema.get(word)
    return options if isinstance(options, list) else []


def target(reference: str, root: Any) -> Any:
    """The schema that a local `$ref` names; {} if there is none."""
    if not reference.startswith("#"):
        return {}
    at = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(at, dict) or key not in at:
            return {}
        at = at[key]
    return at


def parts(
    schema: Any, root: Any, words: tuple[str, ...] = (*_EITHER, "allOf")
) -> list[dict[str, Any]]:
    """The schema, and all that says something of the same value: what its `$ref` leads to, and the
    options under these words. Each once.
    """
    found: list[dict[str, Any]] = []
    seen: set[int] = set()
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict) or id(each) in seen:
            continue
        seen.add(id(each))
        found.append(each)
        for word in words:
            waiting += _listed(each, word)
        if isinstance(each.get("$ref"), str):
            waiting.append(target(each["$ref"], root))
    return found


def declared(schema: Any, root: Any, name: str) -> tuple[list[Any], bool]:
    """(schemas of a property, whether it is required); ([], False) if it is not declared."""
    found: list[Any] = []
    needed = False
    for part in parts(schema, root):
        properties = part.get("properties")
        if isinstance(properties, dict) and name in properties:
            found.append(properties[name])
            needed = needed or name in _listed(part, "required")
    return found, needed


def named(schema: Any, root: Any) -> set[str] | None:
    """The names of all properties; None where the schema names none, or takes others too."""
    found: set[str] = set()
    for part in parts(schema, root):
        if part.get("additionalProperties") not in (None, False) or part.get("patternProperties"):
            return None
        properties = part.get("properties")
        if isinstance(properties, dict):
            found |= properties.keys()
    return found or None


def others(schema: Any, root: Any) -> Iterator[dict[str, Any]]:
    """The schemas of properties that are not named."""
    for part in parts(schema, root):
        rest = part.get("additionalProperties")
        if isinstance(rest, dict) and rest:
            yield rest
        patterns = part.get("patternProperties")
        if isinstance(patterns, dict):
            yield from (each for each in patterns.values() if isinstance(each, dict) and each)


def items(schema: Any, root: Any) -> list[Any]:
    """The schemas of a list's items."""
    found = []
    for part in parts(schema, root):
        if isinstance(part.get("items"), dict):
            found.append(part["items"])
        found += _listed(part, "prefixItems")
    return found


def required(schema: Any, root: Any) -> list[str]:
    """The names of properties that are required in every option."""
    return [
        name
        for part in parts(schema, root, ("allOf",))
        for name in _listed(part, "required")
        if isinstance(name, str)
    ]

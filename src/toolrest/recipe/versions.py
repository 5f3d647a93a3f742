"""Recipes of earlier versions: what their keys are called now."""

from __future__ import annotations

from typing import Any

from toolrest.errors import InputError, short

SCHEMA = 2
"""The version that this package writes, as the key `schema`; a recipe without it has this one."""
RENAMED: dict[str, str] = {}
"""Keys of earlier versions, dotted, and what they are called now."""
ADDED: dict[int, dict[str, Any]] = {2: {"optimizer.prefix_sharing": "off"}}
"""Keys that a version added, dotted, and what a recipe that names an earlier version means without
them. A run's own recipe names its version, so an older run goes on as it began."""
_ABSENT = object()


def upgrade(values: dict[str, Any], source: str) -> tuple[dict[str, Any], list[str]]:
    """A recipe's plain values as this version has them, and a note for each key that was renamed.

    Args:
        values: by keys; sections are dictionaries in it. Without `schema` they are taken as new.
        source: named in errors and notes.

    Returns:
        (values without the key `schema`, notes).

    Raises:
        InputError: the recipe is of a newer version, or has a key under both of its names.
    """
    values = {key: dict(v) if isinstance(v, dict) else v for key, v in values.items()}
    schema = values.pop("schema", SCHEMA)
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise InputError(f"{source}: schema={short(schema)} is no version, such as {SCHEMA}")
    if schema > SCHEMA:
        raise InputError(
            f"{source}: schema={short(schema)}, but this toolrest reads recipes up to {SCHEMA}; "
            "use a newer one"
        )
    notes = []
    for old, new in RENAMED.items():
        value = _take(values, old)
        if value is _ABSENT:
            continue
        notes.append(f"{source}: {old} is called {new} now")
        section, name = _section(values, new)
        if section is not None and name in section:
            raise InputError(f"{notes[-1]}, and both are there; keep one")
        if section is not None:
            section[name] = value
    for version, added in ADDED.items():
        for key, value in added.items() if schema < version else ():
            section, name = _section(values, key)
            if section is not None:
                section.setdefault(name, value)
    return values, notes


def _section(values: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """The section of a dotted key, made where it is not there, and the key's own name. None: there
    is a value in its place, which whoever checks the values refuses.
    """
    *parents, name = key.split(".")
    section: Any = values
    for parent in parents:
        section = section.setdefault(parent, {}) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else None, name


def _take(values: Any, key: str) -> Any:
    """The value of a dotted key, taken out of the values, and its section if that is empty then."""
    first, _, rest = key.partition(".")
    if not isinstance(values, dict) or first not in values:
        return _ABSENT
    if not rest:
        return values.pop(first)
    found = _take(values[first], rest)
    if found is not _ABSENT and not values[first]:
        del values[first]
    return found

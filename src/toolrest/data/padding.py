"""Removes the nulls that Arrow adds: one for every key that another row has.

Arrow keeps objects as structs, all of one shape. What it writes (parquet, JSONL of `to_json`, the
hub) has in each object the keys of all rows, most of them null. A key that is not there is null,
and an object with no keys is one whose keys are all null, so that taking the nulls out gives back
what was there. Objects that are read from a JSON text are never padded.
"""

from __future__ import annotations

from typing import Any

from toolrest.data.json_text import Written, plain
from toolrest.data.rows import BadRow
from toolrest.data.schema import admits, declared, items, others


def without_nulls(value: Any) -> Any:
    """The value without its null keys at any depth; what is `Written` stays.

    Raises:
        BadRow: a value that JSON has not, such as a date.
    """
    if isinstance(value, Written):
        return plain(value)
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else _json(value)


def unpadded(value: Any, schema: Any, root: Any) -> Any:
    """A call's arguments without the nulls that Arrow added.

    A null is kept where the schema declares the key and either allows null there or asks for the
    key; every other one is padding. A number that Arrow made a float for another row's sake is an
    integer again where the schema asks for one.

    Args:
        schema: of the value.
        root: the whole schema.

    Raises:
        BadRow: a value that JSON has not, such as a date.
    """
    if isinstance(value, Written):
        return plain(value)
    if isinstance(value, dict):
        kept = {}
        for key, each in value.items():
            named, needed = declared(schema, root, key)
            said = named or list(others(schema, root))
            if each is not None:
                kept[key] = unpadded(each, _either(said), root)
            elif needed or any(admits(None, option, root) for option in said):
                kept[key] = None
        return kept
    if isinstance(value, list):
        inner = _either(items(schema, root))
        return [unpadded(each, inner, root) for each in value]
    if isinstance(value, float) and value.is_integer() and not admits(value, schema, root):
        return int(value) if admits(int(value), schema, root) else value
    return _json(value)


def _json(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise BadRow(f"a value is {type(value).__name__}, which JSON has no value for")


def _either(options: list[Any]) -> Any:
    return options[0] if len(options) == 1 else {"anyOf": options} if options else {}

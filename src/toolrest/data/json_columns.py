"""Parses columns that a parquet file or a data set stores as JSON.

`datasets` writes its feature `Json` so, as in the layout `List(Json())` that TRL's documentation
recommends for messages and tools: their objects keep the shapes that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from toolrest.data.json_text import parsed, written

if TYPE_CHECKING:
    import pyarrow as pa

Reading = Callable[[Any], Any]
"""Stored value -> parsed value."""


def stored_json(kind: pa.DataType) -> Reading | None:
    """How values of an Arrow type are read; None: as they are, for nothing in it is JSON."""
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return parsed
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _each(stored_json(kind.value_type))
    if pa.types.is_struct(kind):
        return _fields({field.name: stored_json(field.type) for field in kind})
    return None


def decoded_json(feature: Any) -> Reading | None:
    """The same of a feature of `datasets`, which has parsed the JSON already."""
    from datasets import Json, LargeList, List

    if isinstance(feature, Json):
        return written
    if isinstance(feature, List | LargeList):
        return _each(decoded_json(feature.feature))
    if isinstance(feature, Mapping):
        return _fields({name: decoded_json(each) for name, each in feature.items()})
    return None


def _each(read: Reading | None) -> Reading | None:
    if read is None:
        return None
    return lambda values: [read(each) for each in values] if isinstance(values, list) else values


def _fields(reads: Mapping[str, Reading | None]) -> Reading | None:
    known = {name: read for name, read in reads.items() if read is not None}
    if not known:
        return None

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: known[name](each) if name in known else each for name, each in value.items()}

    return read

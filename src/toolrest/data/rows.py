"""Iterates over the rows of a file or of a data set on the hub.

A row's number counts the rows of its file from 0, whatever is done with them. A blank line is no
row, and neither is a CSV file's line of headings.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from toolrest.data.json_columns import Reading, decoded_json, stored_json
from toolrest.errors import InputError, kind_of
from toolrest.io.foreign import user_path
from toolrest.io.redaction import first_line

LONGEST_LINE = 64 * 1024**2
"""Most bytes of a JSONL line, and characters of a CSV cell."""
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_BATCH = 256
_LISTED = 4
"""Files that a message names at most."""


_LONGEST_REASON = 400


class BadRow(Exception):
    """An unusable row and the reason; `prepare` counts it, training stops at it."""

    def __init__(self, reason: str) -> None:
        cut = len(reason) > _LONGEST_REASON
        super().__init__(f"{reason[:_LONGEST_REASON]}.." if cut else reason)


Row = dict[str, Any] | BadRow


def find_file(source: str) -> Path | None:
    """The file of rows that a source names; None: a data set on the hub.

    Raises:
        InputError: there is no such file, or it is of another kind.
    """
    path = user_path(source, f"data {source}")
    if not source.isascii() and any("\ud800" <= c <= "\udfff" for c in source):
        raise InputError(f"data {source}: its name is not UTF-8; rename the file")
    if path.is_dir():
        raise InputError(f"data {source}: a folder; name a file in it{_files_in(path)}")
    if not path.is_file():
        if _HUB.fullmatch(source) and _reader(path) is None and not path.exists():
            return None
        near = _files_in(path.parent) if path.parent.is_dir() else ""
        raise InputError(f"data {source}: there is no such file{near}")
    if _reader(path) is None:
        raise InputError(f"data {source}: expected .json, .jsonl, .csv (each .gz too) or .parquet")
    return path


def _reader(path: Path) -> Callable[[Path], Iterator[Row]] | None:
    """What reads a file of this name; None: nothing does."""
    gzipped = path.suffix == ".gz"
    kind = path.suffixes[-2:] if gzipped else path.suffixes[-1:]
    reader = _readers().get(kind[0].lower()) if kind else None
    return None if gzipped and reader is _parquet_rows else reader


def _readers() -> dict[str, Callable[[Path], Iterator[Row]]]:
    return {
        ".json": _json_rows,
        ".jsonl": _jsonl_rows,
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }


def iterate_rows(source: str) -> Iterator[tuple[int, Row]]:
    """(number from 0, row) of a `.json`, `.jsonl`, `.csv` or `.parquet` file, the first three
    gzipped or not, or of the training split of a data set on the hub, which is streamed.

    A row that is no object, or no JSON, comes as a `BadRow`. Values that a parquet file or a data
    set keeps as JSON come as what they say, their objects `Written`. An empty cell of a CSV file is
    null, every other one a text.

    Raises:
        InputError: no such file or data set, another kind of file, not UTF-8, or an empty one.
    """
    path = find_file(source)
    reader = None if path is None else _reader(path)
    if path is None or reader is None:
        yield from _hub_rows(source)
        return
    none = True
    for number, row in enumerate(reader(path)):
        none = False
        yield number, row
    if none:
        raise InputError(f"data {source}: the file holds no rows")


def files_in(folder: Path) -> list[str]:
    """The names of a folder's files of rows, in order; none where it cannot be read."""
    try:
        return sorted(p.name for p in folder.iterdir() if _reader(p) is not None)
    except OSError:
        return []


def _files_in(folder: Path) -> str:
    """`; FOLDER has a.json, b.parquet`: the first files of these kinds, or nothing."""
    names = files_in(folder)
    shown = ", ".join(names[:_LISTED]) + (", .." if len(names) > _LISTED else "")
    return f"; {'here is' if folder == Path() else f'{folder} has'} {shown}" if names else ""


def _binary(path: Path) -> IO[bytes]:
    opening = gzip.open if path.suffix == ".gz" else open
    return cast("IO[bytes]", opening(path, "rb"))


def _failed(path: Path, error: Exception) -> InputError:
    if isinstance(error, UnicodeDecodeError):
        begins = error.object[:2]
        if begins == b"\x1f\x8b":
            return InputError(f"data {path}: gzipped; name it {path.name}.gz")
        if begins in (b"\xff\xfe", b"\xfe\xff"):
            return InputError(
                f"data {path}: UTF-16; convert it first: iconv -f UTF-16 -t UTF-8 {path.name}"
            )
        return InputError(
            f"data {path}: not UTF-8 (byte {error.object[error.start]:#04x}); convert it first, as "
            f"in: iconv -f LATIN1 -t UTF-8 {path.name}"
        )
    return InputError(f"data {path}: cannot be read ({str(error).strip() or type(error).__name__})")


_ERRORS = (OSError, EOFError, ValueError, RecursionError, OverflowError, zlib.error)
"""Exceptions that damaged and hostile files raise."""


def _json_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON list of objects, or of JSON lines in a .json file."""
    try:
        with _binary(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="").read()
    except _ERRORS as error:
        raise _failed(path, error) from error
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        first = text.lstrip()[:1]
        if first == "{" and "\n" in text.strip():
            yield from (_object(line) for line in text.split("\n") if line.strip())
            return
        if not first:
            return
        raise _failed(path, error) from error
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list):
        raise InputError(f"data {path}: expected a list of rows, got {kind_of(rows)}")
    for row in rows:
        yield row if isinstance(row, dict) else BadRow(f"{kind_of(row)}, not an object")


def _jsonl_rows(path: Path) -> Iterator[Row]:
    try:
        with _binary(path) as file:
            first = True
            while line := file.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(LONGEST_LINE)
                    yield BadRow(f"a line over {LONGEST_LINE // 1024**2} MiB")
                    continue
                text = line.decode("utf-8-sig" if first else "utf-8")
                first = False
                if text.strip():
                    yield _object(text)
    except _ERRORS as error:
        raise _failed(path, error) from error


def _object(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow(f"not JSON ({str(error) or type(error).__name__})")
    return row if isinstance(row, dict) else BadRow(f"{kind_of(row)}, not an object")


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    reader = None
    try:
        with _binary(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
            reader = csv.reader(text, strict=True)
            headings = next(reader, [])
            twice = [name for name in headings if headings.count(name) > 1]
            if twice:
                raise InputError(f"data {path}: the heading {twice[0][:100]!r} is there twice")
            for cells in reader:
                if len(cells) == len(headings):
                    yield {n: c or None for n, c in zip(headings, cells, strict=True)}
                elif cells:
                    yield BadRow(f"{len(cells)} cells under {len(headings)} headings")
    except csv.Error as error:
        line = reader.line_num if reader else 0
        raise InputError(f"data {path}: line {line} cannot be read as CSV ({error})") from error
    except InputError:
        raise
    except _ERRORS as error:
        raise _failed(path, error) from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            kinds = {field.name: stored_json(field.type) for field in file.schema_arrow}
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    yield _read(row, kinds)
    except (pyarrow.ArrowException, KeyError, *_ERRORS) as error:
        raise InputError(f"data {path}: not a readable parquet file ({error})") from error


def _read(row: dict[str, Any], kinds: Mapping[str, Reading | None]) -> dict[str, Any]:
    """The row with its JSON columns parsed."""
    return {
        name: value if (read := kinds.get(name)) is None else read(value)
        for name, value in row.items()
    }


def _hub_rows(name: str) -> Iterator[tuple[int, Row]]:
    from datasets import load_dataset

    try:
        rows = load_dataset(name, split="train", streaming=True)
        features = getattr(rows, "features", None) or {}
        kinds = {key: decoded_json(feature) for key, feature in features.items()}
        for number, row in enumerate(rows):
            yield number, _read(cast("dict[str, Any]", row), kinds)
    except (OSError, ValueError, RuntimeError, OverflowError, zlib.error) as error:
        raise InputError(
            f"data {name}: no such file, and the hub has no such data set or cannot be reached "
            f"({first_line(error)})"
        ) from error

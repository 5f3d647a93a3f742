"""RLLA files: the parquet of ToolRL and ResT, and the JSON of its supervised part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrest.data.sample import Sample
from toolrest.dialects import ParseStatus, get_dialect
from toolrest.errors import InputError

_PARQUET_COLUMNS = ("prompt", "reward_model")
_JSON_KEYS = ("instruction", "input", "output")
_PLACEHOLDER = "I should use the right tools or respond to the user."


def load_rlla(path: Path) -> list[Sample]:
    """Read an RLLA file.

    The thoughts of a JSON file's outputs are dropped from the ground truth: they are none, and some
    mention tags. The whole output is the sample's demonstration; a parquet file has none.

    Args:
        path: a `.parquet` file with the columns `prompt` (messages) and
            `reward_model.ground_truth`, or a `.json` file with a list of
            {instruction, input, output}.

    Raises:
        InputError: no such file, another kind of file, a missing column, or a broken row, which is
            named by its number.
    """
    if not path.is_file():
        raise InputError(f"data.path={path}: there is no such file")
    if path.suffix == ".parquet":
        rows = list(_parquet_rows(path))
    elif path.suffix == ".json":
        rows = list(_json_rows(path))
    else:
        raise InputError(f"data.path={path}: expected a .parquet or a .json file")
    if not rows:
        raise InputError(f"data.path={path}: the file holds no rows")
    return [_sample(path, number, *row) for number, row in enumerate(rows)]


_Row = tuple[list[dict[str, str]], str, str | None]
"""Messages, ground truth, and the demonstration where there is one."""


def _parquet_rows(path: Path) -> Iterator[_Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"data.path={path}: not a readable parquet file ({error})") from error
    missing = [name for name in _PARQUET_COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(
            f"data.path={path}: no column {', '.join(missing)}; it has "
            f"{', '.join(table.column_names)}"
        )
    for number, row in enumerate(table.select(_PARQUET_COLUMNS).to_pylist()):
        truth = row["reward_model"]
        truth = truth.get("ground_truth") if isinstance(truth, dict) else None
        truth = _text(path, number, "ground_truth", truth)
        yield _messages(path, number, row["prompt"]), truth, None


def _json_rows(path: Path) -> Iterator[_Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"data.path={path}: not a readable JSON file ({error})") from error
    if not isinstance(rows, list):
        raise InputError(f"data.path={path}: expected a list of rows, got {type(rows).__name__}")
    dialect = get_dialect("rlla")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise _broken(path, number, f"expected an object, got {type(row).__name__}")
        system, user, output = (_text(path, number, key, row.get(key)) for key in _JSON_KEYS)
        reply = dialect.parse(output)
        truth = dialect.render(thought=_PLACEHOLDER, calls=reply.calls, response=reply.response)
        if reply.status is not ParseStatus.OK:
            raise _broken(path, number, f"the output does not parse ({reply.status})")
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        yield messages, truth, output


def _messages(path: Path, number: int, prompt: Any) -> list[dict[str, str]]:
    if not isinstance(prompt, list) or not prompt:
        raise _broken(path, number, "`prompt` is not a list of messages")
    for message in prompt:
        if not isinstance(message, dict):
            raise _broken(path, number, "`prompt` holds something that is no message")
        for key in ("role", "content"):
            _text(path, number, f"prompt's {key}", message.get(key))
    return [{"role": m["role"], "content": m["content"]} for m in prompt]


def _text(path: Path, number: int, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _broken(path, number, f"{name} is {type(value).__name__}, not a text")
    return value


def _sample(
    path: Path, number: int, prompt: list[dict[str, str]], truth: str, demonstration: str | None
) -> Sample:
    reply = get_dialect("rlla").parse(truth)
    if reply.status is not ParseStatus.OK or not (reply.calls or reply.response is not None):
        raise _broken(path, number, f"the ground truth does not parse ({reply.status})")
    return Sample(tuple(prompt), truth, path.name, str(number), demonstration)


def _broken(path: Path, number: int, what: str) -> InputError:
    return InputError(f"data.path={path}: row {number}: {what}; mend the row or take it out")

"""Random damage to data files: rows, counted bad rows or one `InputError`, and nothing else.

    python tests/fuzz/data_files.py --examples 3000

Rows of every format lose fields, get other types, huge or hostile values; files are cut off, and
single bytes are changed. tests/fuzz/test_data_files.py runs some hundreds in the suite.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from toolrest.data.check import KINDS
from toolrest.data.check import check as check_sources
from toolrest.data.decompose import Rendering
from toolrest.data.pick import pick_row
from toolrest.data.prepare import Options, manifest_path, prepare
from toolrest.data.sources import Skipped, Source, iterate_samples
from toolrest.errors import InputError

SLOW = 10.0
"""Seconds after which a file counts as a hang."""
ESCAPES = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>\u202e"
TOOL = {
    "name": "w",
    "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
}
SYSTEM = (
    "S\nuse the following tools:\n1. Name: w\nDescription: d\n"
    'Parameters: {"a": {"type": "string"}}\n\n**Steps for Each Turn**'
)
HISTORY = "**Dialogue Records History**\n<user>Rome?</user>\n<response>Well.</response>\n"
REPLY = '<think>t</think>\n<tool_call>\n{"name": "w", "parameters": {"a": "x"}}\n</tool_call>'
CALL = '<tool_call>\n{"name": "w", "arguments": {"a": "x"}}\n</tool_call>'
SCHEMAS = {
    "type": "function",
    "function": {
        "name": "w",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"$ref": "#/$defs/A"},
                "b": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                "c": {"type": "object", "properties": {"d": {"type": ["string", "null"]}}},
                "e": {"type": "array", "items": {"$ref": "#/$defs/A"}},
            },
            "required": ["a"],
            "$defs": {"A": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/A"}]}},
            "additionalProperties": {"type": "string"},
        },
    },
}
ROWS: dict[str, dict[str, Any]] = {
    "rlla": {
        "prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": HISTORY}],
        "reward_model": {"ground_truth": REPLY, "style": "rule"},
    },
    "rlla_json": {"instruction": SYSTEM, "input": HISTORY, "output": REPLY},
    "apibank": {
        "system": SYSTEM,
        "user": HISTORY,
        "answer": [{"name": "w", "parameters": {"a": "x"}}],
    },
    "toolace": {
        "system": f"S [{json.dumps(TOOL)}] T",
        "conversations": [
            {"from": "user", "value": "Rome?"},
            {"from": "assistant", "value": '[w(a="Rome")]'},
            {"from": "tool", "value": '[{"name": "w", "results": {"b": 1}}]'},
            {"from": "assistant", "value": "Blue."},
        ],
    },
    "xlam": {
        "query": "q",
        "tools": json.dumps([TOOL]),
        "answers": '[{"name": "w", "arguments": {"a": "x"}}]',
    },
    "bfcl": {
        "id": "simple_0",
        "question": [[{"role": "user", "content": "q"}]],
        "function": [TOOL],
        "ground_truth": [{"w": {"a": ["x", ""], "b": [{"c": [1]}]}}],
    },
    "messages": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "t",
                "tool_calls": [{"id": "1", "function": {"name": "w", "arguments": '{"a": "x"}'}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "r"},
            {"role": "assistant", "content": "done"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
    },
    "sharegpt": {
        "system": "s",
        "tools": json.dumps([TOOL]),
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": '{"name": "w", "arguments": {"a": "x"}}'},
            {"from": "observation", "value": '{"b": 1}'},
            {"from": "gpt", "value": "<think>t</think>done"},
        ],
    },
    "hermes": {
        "conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": CALL},
            {"from": "tool", "value": "<tool_response>\nr\n</tool_response>"},
            {"from": "gpt", "value": "done"},
        ],
        "tools": [TOOL],
    },
    "swift": {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "<think>t</think>"},
            {"role": "tool_call", "content": '{"name": "w", "arguments": {"a": "x"}}'},
            {"role": "tool_call", "content": '[{"name": "w", "arguments": "{}"}]'},
            {"role": "tool_response", "content": {"b": [1, None]}},
            {"role": "tool_response", "content": [{"type": "text", "text": "r"}]},
            {"role": "system", "content": "s"},
            {"role": "assistant", "content": "done"},
        ],
        "tools": [SCHEMAS],
    },
    "prompt": {
        "prompt": [{"role": "user", "content": "q"}],
        "ground_truth": REPLY,
        "tools": [SCHEMAS],
    },
    "prompt as text": {"prompt": "q", "ground_truth": REPLY},
    "prepared": {
        "prompt": [{"role": "user", "content": "q"}],
        "reward_model": {"ground_truth": REPLY, "style": "rule"},
        "extra_info": {"index": 0, "identity": "0", "group": "g"},
        "dialect": "rlla",
        "wording": '{"think": true}',
        "tools": json.dumps([TOOL]),
        "messages": json.dumps([{"role": "user", "content": "q"}]),
        "true_names": '{"w": "v"}',
        "demonstration": REPLY,
        "data_source": "s",
    },
}
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**70, 1.5, float("nan"), float("inf"), "", " ", "x", [], {}, [[]], [{}]),
    *([None], {"a": None}, [1, "a"], {"": ""}, "[", "{", "[" * 2000, '{"a":' * 2000, "null", "3"),
    *("../../x", "/etc/passwd", "a\0b", ESCAPES, "é\u2028", "\ud800", "x" * 100_000, "9" * 5000),
    *('[{"name": 3}]', '[{"name": "w"}]', '{"name": "w"}', "[w(", "[w(a=1)" * 500, "w" * 300),
    *("<user>" * 5000, "<think>" * 5000, "<tool_call>" * 3000, "1. Name: w\n" * 1000, "[{" * 2000),
    *('["' * 2000, "(" * 3000, "\\" * 3000, "- " * 3000, "<obs>" * 3000 + "</user>" * 3000),
]
DROPS = ((), tuple(KINDS))
SPEECHES = (("rlla", "rlla"), ("hermes", "template"), ("rlla", "plain"))
WRITINGS = ("json", "jsonl", "parquet", "csv")
FORMS = {"prepared": None, "hermes": "sharegpt", "swift": "messages", "prompt as text": "prompt"}
"""The formats of rows that are called otherwise."""


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of every value in a row."""
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


def put(row: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The row with another value at a place."""
    made: Any = copy.deepcopy(row)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return made


def changed(rng: random.Random) -> dict[str, Any]:
    """A row of some format with one to three values changed or taken out."""
    row = copy.deepcopy(ROWS[rng.choice(list(ROWS))])
    for _ in range(rng.randint(1, 3)):
        place = rng.choice([each for each in places(row) if each])
        row = put(row, place, rng.choice(VALUES))
    return row


def write(path: Path, rows: list[dict[str, Any]]) -> bool:
    """Write rows by the file's ending; False where that kind of file cannot hold them."""
    try:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix == ".csv":
            write_csv(path, rows)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            path.write_text(json.dumps(rows), encoding="utf-8")
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        return False
    return True


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Texts as they are, all else as its JSON text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        for row in rows:
            texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
            writer.writerow(texts)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file cut off, with bytes changed, or with some twice or missing."""
    made = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        del made[rng.randrange(len(made) + 1) :]
    elif kind == 1:
        for _ in range(rng.randint(1, 8)):
            made[rng.randrange(len(made))] = rng.randrange(256)
    else:
        start = rng.randrange(len(made))
        part = made[start : start + rng.randint(1, 40)]
        made[start : start + len(part)] = b"" if kind == 2 else part + part
    return bytes(made)


def check(path: Path, output: Path, rng: random.Random, counts: Counter[str]) -> None:
    """Read a file in every way. Raises whatever reading it should not."""
    rendering = Rendering(*rng.choice(SPEECHES))
    forms = [None, None, None, *(FORMS.get(name, name) for name in ROWS)]
    source = Source(str(path), format=rng.choice(forms), mask=rng.choice((0.0, 0.5)))
    before = sorted(each.name for each in path.parent.iterdir())
    began = time.process_time()  # whatever else the machine does
    for name, act in (
        ("strict", lambda: list(iterate_samples(source, rendering, 0))),
        ("lenient", lambda: list(iterate_samples(source, rendering, 0, Skipped()))),
        ("check", lambda: [report.to_dict() for report in check_sources([source], rendering)]),
        (
            "prepare",
            lambda: prepare([source], rendering, output, 0, options=Options(rng.choice(DROPS))),
        ),
        ("show", lambda: list(pick_row([source], rendering, 0, str(rng.randrange(4))))),
    ):
        try:
            act()
            counts[name] += 1
        except InputError as error:
            assert str(error).strip(), name
            assert len(str(error)) < 5000, (name, str(error)[:200])
            counts[f"{name}, refused"] += 1
    if output.is_file():
        again = list(iterate_samples(Source(str(output)), rendering, 0, Skipped()))
        assert len(again) == pq.read_metadata(output).num_rows
        output.unlink()
        manifest_path(output).unlink()
    assert time.process_time() - began < SLOW, path
    assert sorted(each.name for each in path.parent.iterdir()) == before
    assert not list(output.parent.iterdir())


def fuzz(examples: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Check every value in every place of every format once, and so many files at random."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    inputs, outputs = folder / "in", folder / "out"
    inputs.mkdir()
    outputs.mkdir()
    for number in range(examples):
        path = inputs / f"rows.{rng.choice(WRITINGS)}"
        rows = [changed(rng) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.5:
            rows = [ROWS[rng.choice(list(ROWS))] for _ in range(3)]
        if write(path, rows):
            if rng.random() < 0.6:
                path.write_bytes(damaged(path.read_bytes(), rng))
            try:
                check(path, outputs / "made.parquet", rng, counts)
            except Exception as error:
                error.add_note(f"example {number} of seed {seed}: {path}")
                raise
        path.unlink(missing_ok=True)
    return counts


def every_place(folder: Path, step: int = 1) -> int:
    """Every value, or every `step`-th, in every place of a row of every format."""
    path = folder / "rows.jsonl"
    rows = [
        put(row, place, value)
        for row in ROWS.values()
        for place in places(row)
        if place not in ((), ("dialect",), ("wording",))  # others are refused as a whole
        for value in VALUES[::step]
    ]
    for name, row in ROWS.items():
        mine = [each for each in rows if each.keys() >= row.keys()]
        assert write(path, [row, *mine])
        for dialect, style in SPEECHES:
            source = Source(str(path), format=FORMS.get(name, name), mask=0.5)
            if name == "prepared" and dialect != "rlla":
                continue
            skipped = Skipped()
            began = time.monotonic()
            list(iterate_samples(source, Rendering(dialect, style), 0, skipped))
            for report in check_sources([source], Rendering(dialect, style)):
                assert report.rows == len(mine) + 1
            assert time.monotonic() - began < 6 * SLOW, name
    return len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        placed = every_place(Path(scratch))
        found = fuzz(asked.examples, Path(scratch), asked.seed)
    sys.stdout.write(f"{placed} placed values, {dict(found)}, {time.monotonic() - start:.0f} s\n")

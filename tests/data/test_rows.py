"""Files of every kind, whole and broken."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toolrest.data import rows as rows_module
from toolrest.data.rows import BadRow, iterate_rows
from toolrest.errors import InputError

ROWS = [{"a": 1, "b": "é"}, {"a": 2, "b": "x\ny"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def written(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", LINES),
        ("a.jsonl", LINES),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
        ("a.jsonl", LINES.replace(b"}\n", b"}\r\n")),
        ("a.jsonl", LINES.rstrip(b"\n")),
        ("a.jsonl", b"\n\n" + LINES.replace(b"}\n", b"}\n \n")),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
    ],
)
def test_every_writing_of_the_same_rows(tmp_path, name, data):
    assert list(iterate_rows(written(tmp_path, name, data))) == list(enumerate(ROWS))


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert list(iterate_rows(str(tmp_path / "a.parquet"))) == list(enumerate(ROWS))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", b"", "holds no rows"),
        ("a.json", b"[]", "holds no rows"),
        ("a.jsonl", b"\n\n", "holds no rows"),
        ("a.json", b'"text"', "expected a list of rows, got str"),
        ("a.json", b"[" * 100_000, "cannot be read"),
        ("a.json", b'[{"a": 1}', "cannot be read"),
        ("a.jsonl", '{"a": "é"}'.encode("latin-1"), "not UTF-8 .*iconv"),
        ("a.json", '[{"a": "é"}]'.encode("latin-1"), "not UTF-8 .*iconv"),
        ("a.json.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "cannot be read"),
        ("a.parquet", b"PAR1 but not", "not a readable parquet"),
        ("a.parquet", b"", "not a readable parquet"),
        ("a.tsv", b"x", "expected .json"),
        ("a.parquet.gz", b"x", "expected .json"),
        ("a", b"x", "expected .json"),
    ],
)
def test_a_broken_file_is_one_error(tmp_path, name, data, words):
    with pytest.raises(InputError, match=words):
        list(iterate_rows(written(tmp_path, name, data)))


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        list(iterate_rows(str(tmp_path / "none.json")))


def test_rows_that_are_no_objects_are_values(tmp_path):
    path = written(tmp_path, "a.jsonl", b'1\n{"a": 1}\n{"a": \n' + b"[" * 5000 + b"\n")
    found = [row for _, row in iterate_rows(path)]
    assert found[1] == {"a": 1}
    assert [isinstance(row, BadRow) for row in found] == [True, False, True, True]


def test_a_line_without_end_is_one_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "LONGEST_LINE", 100)
    data = b'{"a": 1}\n{"a": "' + b"x" * 100_000 + b'"}\n{"a": 2}\n'
    found = [row for _, row in iterate_rows(written(tmp_path, "a.jsonl", data))]
    assert [row if isinstance(row, dict) else "bad" for row in found] == [{"a": 1}, "bad", {"a": 2}]


def test_a_hub_name_is_streamed(monkeypatch):
    asked = []

    def load_dataset(name, **options):
        asked.append((name, options))
        return iter(ROWS)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert list(iterate_rows("some/data")) == list(enumerate(ROWS))
    assert asked == [("some/data", {"split": "train", "streaming": True})]


def test_a_hub_that_cannot_be_reached_is_one_error(monkeypatch):
    def load_dataset(name, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(InputError, match="no route"):
        list(iterate_rows("some/data"))

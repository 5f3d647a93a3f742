"""Files of every kind, whole and broken."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from toolrest.data import rows as rows_module
from toolrest.data.json_text import Written
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


def csv_of(rows, **options):
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), **options)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


TEXTS = [
    {"a": '[{"role": "user", "content": "é, \\"b\\"\\n"}]', "b": "x"},
    {"a": 'many\r\nlines "quoted", and\u2028more', "b": None},
]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", csv_of(TEXTS)),
        ("a.csv", b"\xef\xbb\xbf" + csv_of(TEXTS)),
        ("a.csv", csv_of(TEXTS, lineterminator="\n")),
        ("a.csv", csv_of(TEXTS, quoting=csv.QUOTE_ALL).rstrip()),
        ("a.csv", csv_of(TEXTS).replace(b"b\r\n", b"b\r\n\r\n") + b"\r\n\r\n"),
        ("a.CSV", csv_of(TEXTS)),
        ("a.csv.gz", gzip.compress(csv_of(TEXTS), mtime=0)),
    ],
)
def test_csv(tmp_path, name, data):
    assert list(iterate_rows(written(tmp_path, name, data))) == list(enumerate(TEXTS))


def test_csv_of_pandas_and_datasets(tmp_path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(TEXTS).to_csv(tmp_path / "a.csv", index=False)
    Dataset.from_list(TEXTS).to_csv(tmp_path / "b.csv")
    for name in ("a.csv", "b.csv"):
        assert list(iterate_rows(str(tmp_path / name))) == list(enumerate(TEXTS))


def test_a_large_cell_is_read(tmp_path):
    rows = [{"a": "x" * 1_000_000, "b": "y"}]
    assert list(iterate_rows(written(tmp_path, "a.csv", csv_of(rows)))) == [(0, rows[0])]


def test_a_cell_without_end_is_one_error(tmp_path):
    data = b'a,b\n1,2\n"' + b"x" * (rows_module.LONGEST_LINE + 1) + b'",2\n'
    with pytest.raises(InputError, match=r"line 3 cannot be read as CSV \(field larger"):
        list(iterate_rows(written(tmp_path, "a.csv", data)))


def test_ragged_rows_of_csv_are_values(tmp_path):
    path = written(tmp_path, "a.csv", b"a,b\n1,2\n1\n1,2,3\n3,4\n")
    found = [row for _, row in iterate_rows(path)]
    assert [row if isinstance(row, dict) else str(row) for row in found] == [
        {"a": "1", "b": "2"},
        "1 cells under 2 headings",
        "3 cells under 2 headings",
        {"a": "3", "b": "4"},
    ]


def test_lines_end_where_json_has_them_end(tmp_path):
    """Other ends of lines (U+2028, U+0085) may stand inside a text."""
    rows = [{"a": "x\u2028y\u0085z"}, {"a": "\x1c"}]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    for name in ("a.json", "a.jsonl"):
        assert list(iterate_rows(written(tmp_path, name, data))) == list(enumerate(rows))


def test_maps_of_parquet_are_objects(tmp_path):
    kind = pa.map_(pa.string(), pa.int64())
    table = pa.table({"a": pa.array([[("x", 1), ("y", 2)], [], None], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    found = [row["a"] for _, row in iterate_rows(str(tmp_path / "a.parquet"))]
    assert found == [{"x": 1, "y": 2}, {}, None]


def test_json_of_parquet_is_what_it_says(tmp_path):
    texts = ['{"b": null}', "[1, {}]", '"x"', "5", "null", None]
    column = pa.array(texts, pa.json_())
    inner = pa.StructArray.from_arrays([column, pa.array(range(6))], names=["j", "n"])
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3, 4, 5, 6]), column)
    pq.write_table(pa.table({"a": column, "s": inner, "l": lists}), tmp_path / "a.parquet")
    values = [None if text is None else json.loads(text) for text in texts]
    rows = [row for _, row in iterate_rows(str(tmp_path / "a.parquet"))]
    assert [row["a"] for row in rows] == values
    assert [row["s"] for row in rows] == [{"j": v, "n": n} for n, v in enumerate(values)]
    assert [row["l"] for row in rows] == [values[:2], [], *([v] for v in values[2:])]
    assert isinstance(rows[0]["a"], Written) and isinstance(rows[1]["a"][1], Written)
    assert isinstance(rows[0]["l"][0], Written) and isinstance(rows[0]["s"]["j"], Written)
    assert not isinstance(rows[0]["s"], Written)


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert list(iterate_rows(str(tmp_path / "a.parquet"))) == list(enumerate(ROWS))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", b"", "holds no rows"),
        ("a.json", b"[]", "holds no rows"),
        ("a.jsonl", b"\n\n", "holds no rows"),
        ("a.json", b'"text"', "expected a list of rows, got a text"),
        ("a.json", b"[" * 100_000, "cannot be read"),
        ("a.json", b'[{"a": 1}', "cannot be read"),
        ("a.jsonl", '{"a": "é"}'.encode("latin-1"), "not UTF-8 .*iconv"),
        ("a.json", '[{"a": "é"}]'.encode("latin-1"), "not UTF-8 .*iconv"),
        ("a.jsonl", '{"a": "é"}'.encode("utf-16"), "UTF-16; .*iconv -f UTF-16"),
        ("a.csv", "a,b".encode("utf-16"), "UTF-16; .*iconv -f UTF-16"),
        ("a.jsonl", gzip.compress(LINES, mtime=0), r"gzipped; name it a\.jsonl\.gz"),
        ("a.json.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "cannot be read"),
        ("a.parquet", b"PAR1 but not", "not a readable parquet"),
        ("a.parquet", b"", "not a readable parquet"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"a,b\n", "holds no rows"),
        ("a.csv", b'a,b\n1,"2\n3,4\n', r"line 3 cannot be read as CSV \(unexpected end"),
        ("a.csv", b'a,b\n1,"2"3\n', "line 2 cannot be read as CSV"),
        ("a.csv", b"a,a\n1,2\n", "the heading 'a' is there twice"),
        ("a.csv", "a,b\n1,é\n".encode("latin-1"), "not UTF-8 .*iconv"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "cannot be read"),
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


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.json.gz", "x.csv.gz"])
def test_a_gzip_file_with_any_byte_changed_gives_rows_or_a_line(tmp_path, name):
    """Whatever the change does: another header, a stream that cannot be inflated, a wrong sum."""
    whole = gzip.compress(LINES * 20)
    refused = []
    for place in range(len(whole)):
        changed = bytes([whole[place] ^ 0xFF])
        path = written(tmp_path, name, whole[:place] + changed + whole[place + 1 :])
        try:
            list(iterate_rows(path))
        except InputError as error:
            refused.append(str(error))
    assert any("while decompressing" in said for said in refused)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
        pa.array([-(2**31)], pa.int32()).cast(pa.date32()),
        pa.array([2**62], pa.timestamp("us")),
        pa.array([2**62], pa.duration("s")),
    ],
)
def test_a_date_that_python_has_not_is_a_line(tmp_path, column):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": column}), path)
    with pytest.raises(InputError, match="not a readable parquet file"):
        list(iterate_rows(str(path)))

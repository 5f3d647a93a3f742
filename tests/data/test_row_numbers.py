"""A row's number counts the rows of its file from 0, in every file and in every command."""

import csv
import gzip
import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_formats import XLAM
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.data.decompose import Rendering
from toolrest.data.sources import Source, read_rows

DIALOGUE = {
    "query": None,
    "tools": XLAM["tools"],
    "answers": None,
    "messages": json.dumps(
        [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "second"},
            {"role": "assistant", "content": "two"},
        ]
    ),
}


def xlam(query, answers=XLAM["answers"]):
    return {"query": query, "tools": XLAM["tools"], "answers": answers, "messages": None}


ROWS = [
    xlam("zeroth"),
    xlam("broken", "[]"),
    DIALOGUE,
    xlam("zeroth"),
    xlam("fourth " * 3000),
    xlam("fifth", '[{"name": "other", "arguments": {}}]'),
]


def with_blank_lines(rows):
    lines = [json.dumps(row) for row in rows]
    return ("\n\n" + lines[0] + "\n \n\n" + "\r\n\n".join(lines[1:]) + "\n\n").encode()


def as_csv(rows):
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    for row in rows:
        file.write("\r\n")
        writer.writerow(row)
    return file.getvalue().encode()


WRITINGS = {
    "a.jsonl": with_blank_lines,
    "a.jsonl.gz": lambda rows: gzip.compress(with_blank_lines(rows)),
    "b.json": with_blank_lines,
    "c.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "c.json.gz": lambda rows: gzip.compress(json.dumps(rows).encode()),
    "a.csv": as_csv,
    "a.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
}


@pytest.fixture(params=[*WRITINGS, "a.parquet"])
def file(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if request.param == "a.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), request.param)
    else:
        Path(request.param).write_bytes(WRITINGS[request.param](ROWS))
    return request.param


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "300"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.slow
def test_every_command_means_the_same_row(file):
    policy = ("--policy", "embedded", "--max-prompt-tokens", 5000)
    run("data", "check", file, *policy, "--output", "check.json", code=1)
    (report,) = json.loads(Path("check.json").read_text())
    found = {kind: [each["row"] for each in rows] for kind, rows in report["findings"].items()}
    assert found == {
        "unreadable": ["1"],
        "duplicate": ["3"],
        "too long": ["4"],
        "unlisted tool": ["5"],
    }
    assert report["findings"]["duplicate"][0]["detail"] == f"of {file} row 0"

    run("data", "prepare", file, "--output", "p.parquet", "--drop", "all", *policy)
    (source,) = json.loads(Path("p.parquet.manifest.json").read_text())["sources"]
    assert source["left_out_rows"] == {
        "answers is empty": ["1"],
        "duplicate": ["3"],
        "too long": ["4"],
        "unlisted tool": ["5"],
    }

    for row, words in (("0", "zeroth"), ("2", "second"), ("2.1", "second"), ("5", "fifth")):
        shown = run("data", "show", file, "--row", row)
        assert words in shown and f"{file}, row {row}" in shown
    assert "second" not in run("data", "show", file, "--row", "2.0")
    assert f"{file}: row 1: answers is empty" in run("data", "show", file, "--row", 1, code=2)
    assert "no such sample" in run("data", "show", file, "--row", 6, code=2)

    assert f"{file}: row 1: answers is empty" in run("train", f"data.path={file}", code=2)
    run("data", "check", file, "--against", file, "--output", "check.json", code=1)
    (report,) = json.loads(Path("check.json").read_text())
    assert all(
        re.fullmatch(r"equal to .* row 4", f["detail"]) for f in report["findings"]["overlap"]
    )


def test_a_share_and_a_number_drawn_leave_the_numbers_as_they_are(file):
    whole = {read.number: read for read in read_rows(Source(file), Rendering(), 0)}
    assert list(whole) == [0, 1, 2, 3, 4, 5]
    some = {read.number: read for read in read_rows(Source(file, share=0.5), Rendering(), 3)}
    assert 0 < len(some) < 6
    for number, read in some.items():
        assert read.samples == whole[number].samples
        assert [sample.row for sample in read.samples] == [
            read.row(at) for at in range(len(read.samples))
        ]
    recipe = Path("r.yaml")
    recipe.write_text(f"data:\n  sources: [{{path: {file}, share: 0.1, take: 1}}]\n")
    assert "fifth" in run("data", "show", recipe, "--row", 5)


def test_rows_of_a_prepared_file_are_counted_in_that_file(file):
    """What is named there is the prepared file, and `show` says where its row comes from."""
    run("data", "prepare", file, "--output", "p.parquet")
    run("data", "check", "p.parquet", "--output", "check.json")
    (report,) = json.loads(Path("check.json").read_text())
    found = {kind: [each["row"] for each in rows] for kind, rows in report["findings"].items()}
    assert found == {"duplicate": ["3"], "unlisted tool": ["5"]}
    assert f"p.parquet, row 3: {file}, 3" in run("data", "show", "p.parquet", "--row", 3)
    assert f"p.parquet, row 2: {file}, 2.1" in run("data", "show", "p.parquet", "--row", 2)
    rows = [
        sample.row for r in read_rows(Source("p.parquet"), Rendering(), 0) for sample in r.samples
    ]
    assert rows == ["0", "1", "2", "3", "4", "5"]

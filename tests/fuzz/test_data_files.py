"""Damaged and hostile data files; `data_files.py` has the command for more of them."""

import time

import pytest
from data_files import ESCAPES, ROWS, every_place, fuzz, put, write
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.data.formats.rlla_text import history


@pytest.mark.slow
def test_every_value_in_every_place_is_a_row_or_a_counted_one(tmp_path):
    assert every_place(tmp_path, step=7) > 400


def test_damaged_files_are_rows_or_one_error(tmp_path):
    counts = fuzz(60, tmp_path)
    assert counts["lenient"] > 10
    assert counts["strict, refused"] > 10


def test_four_times_as_many_tags_that_nothing_closes_take_four_times_as_long():
    def seconds(tag, count):
        began = time.process_time()
        assert len(history(f"<user>a</user>{f'<{tag}>' * count}")) == 1
        return time.process_time() - began

    for tag in ("user", "obs", "think", "tool_call", "response"):
        assert seconds(tag, 10_000) < 10 * min(seconds(tag, 2_500) for _ in range(3)), tag


COMMANDS = [["check"], ["prepare", "--output", "made/x.parquet"], ["show"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_names_are_text_and_lead_nowhere(command, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    row = put(ROWS["prepared"], ("extra_info", "identity"), f"../../{ESCAPES}")
    row = put(row, ("data_source",), f"/etc/{ESCAPES}")
    torn = put(ROWS["messages"], ("messages", 2, "role"), ESCAPES)
    write(folder / "rows.jsonl", [row, torn])
    found = CliRunner().invoke(app, ["data", command[0], "rows.jsonl", *command[1:]])
    assert found.exit_code in (0, 1, 2), found.output
    assert [each.name for each in tmp_path.iterdir()] == ["here"]
    made = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
    assert made <= {"rows.jsonl", "made/x.parquet", "made/x.parquet.manifest.json"}
    assert "\x1b" not in found.output

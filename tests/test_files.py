"""Files are whole or not there, lines are whole or cut off."""

import errno
import json
import os
import subprocess
import sys

import pytest

from toolrest import files
from toolrest.errors import InputError


def test_what_a_full_disk_cut_off_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    files.append_json(path, {"step": 1})

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "fsync", full)
        files.append_json(path, {"step": 2})
    assert path.read_text() == '{"step": 1}\n'
    files.append_json(path, {"step": 2})
    assert [json.loads(line)["step"] for line in files.whole_lines(path)] == [1, 2]


def test_a_line_that_a_kill_cut_off_does_not_count(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n{"st')
    assert files.whole_lines(path) == ['{"step": 1}\n']


def test_a_tree_s_sizes_are_those_of_its_files(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"123")
    (tmp_path / "d").write_bytes(b"")
    assert files.sync_tree(tmp_path) == {"a/b/c": 3, "d": 0}


def test_only_one_process_holds_a_file(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from toolrest.files import only_one\n"
        "with only_one(Path(sys.argv[1]), 'taken'): print('held')"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True
        )

    with files.only_one(path, "taken"):
        assert "InputError: taken" in other().stderr
    assert other().stdout == "held\n"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(InputError, match="cannot be written in"),
        files.only_one(tmp_path / "none" / "lock", "taken"),
    ):
        pass

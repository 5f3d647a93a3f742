"""Files are whole or not there, lines are whole or cut off."""

import errno
import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from toolrest.errors import InputError
from toolrest.io import files


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
        "import sys; from pathlib import Path; from toolrest.io.files import only_one\n"
        "with only_one(Path(sys.argv[1]), 'taken'): print('held')"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True
        )

    with files.only_one(path, "taken"):
        assert "TakenError: taken" in other().stderr
    assert other().stdout == "held\n"


def test_a_lock_that_was_removed_with_its_folder_keeps_nobody_out(tmp_path, monkeypatch):
    """One opens it, its holder removes it and lets go, and only then the first one locks it."""
    path = tmp_path / "run" / "lock"
    path.parent.mkdir()
    real = files.fcntl.flock
    with ExitStack() as first:
        first.enter_context(files.only_one(path, "taken"))

        def late(descriptor, how):
            monkeypatch.undo()
            path.unlink()
            first.close()
            real(descriptor, how)

        monkeypatch.setattr(files.fcntl, "flock", late)
        with files.only_one(path, "taken") as held:
            assert os.path.samestat(os.fstat(held), path.stat())
            with pytest.raises(files.TakenError, match="taken"), files.only_one(path, "taken"):
                pass


def test_who_holds_a_file_only_to_look_is_waited_for(tmp_path):
    path = tmp_path / "lock"
    with ExitStack() as looking:
        looking.enter_context(files.only_one(path, "taken"))
        threading.Timer(0.05, looking.close).start()
        with files.only_one(path, "taken"):
            pass


def test_a_process_that_was_started_with_it_holds_a_file(tmp_path):
    path = tmp_path / "lock"
    with files.only_one(path, "taken") as held:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held,)
        )
    with pytest.raises(files.TakenError, match="taken"), files.only_one(path, "taken"):
        pass
    child.communicate(b"\n", timeout=60)
    with files.only_one(path, "taken"):
        pass


def test_a_disk_that_locks_no_files_is_told_from_one_who_holds(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    path = tmp_path / "lock"
    with pytest.raises(InputError, match="cannot be locked") as found, files.only_one(path, "no"):
        pass
    assert not isinstance(found.value, files.TakenError)


@pytest.mark.parametrize("target", ["kept", "none/kept"])
def test_no_lock_is_made_through_a_link(tmp_path, target):
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="cannot be written in"), files.only_one(path, "taken"):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_two_who_write_a_file_at_once_both_write_it_whole(tmp_path, monkeypatch):
    """The other one begins and ends while the first sees its text onto the disk."""
    path = tmp_path / "a.json"
    code = (
        "import sys; from pathlib import Path; from toolrest.io.files import write_whole\n"
        "write_whole(Path(sys.argv[1]), 'other')"
    )
    real = os.fsync

    def slow(descriptor):
        monkeypatch.setattr(os, "fsync", real)
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        assert path.read_text() == "other"
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    files.write_whole(path, "mine")
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_what_could_not_be_written_takes_no_room_and_no_link_is_written_through(
    tmp_path, monkeypatch
):
    path, part = tmp_path / "a.json", tmp_path / f"a.json.{os.getpid()}.part"
    (tmp_path / "kept").write_text("kept")
    part.symlink_to(tmp_path / "kept")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "fsync", full)
        files.write_whole(path, "lost")
    assert [found.name for found in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(InputError, match="cannot be written in"),
        files.only_one(tmp_path / "none" / "lock", "taken"),
    ):
        pass


def test_only_regular_files_are_read_and_added_to(tmp_path):
    """A FIFO was waited for without end, and so was a device read."""
    fifo, folder, link = tmp_path / "fifo", tmp_path / "folder", tmp_path / "link"
    os.mkfifo(fifo)
    folder.mkdir()
    link.symlink_to("/dev/zero")
    for path in (fifo, folder, link):
        for read in (files.open_regular, files.read_text, files.read_json, files.open_to_add):
            with pytest.raises(OSError, match="not a regular file"):
                read(path)
        with pytest.raises(InputError, match="cannot be read"):
            files.whole_lines(path)
        with pytest.raises(OSError):
            files.append_json(path, {})
    with pytest.raises(FileNotFoundError):
        files.read_text(tmp_path / "nothing")


def test_files_are_read_to_a_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1\r\n2")
    assert files.read_whole(path, 4) == b"1\r\n2" and files.read_text(path) == "1\r\n2"
    assert list(files.iterate_lines(path)) == ["1", "2"]
    with pytest.raises(OSError, match="over 0 MiB"):
        files.read_whole(path, 3)
    with path.open("wb") as file:
        file.truncate(100 << 30)
    for read in (files.read_text, files.read_json, lambda p: list(files.iterate_lines(p))):
        with pytest.raises(OSError, match="MiB"):
            read(path)

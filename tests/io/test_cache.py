"""What is kept between commands: whole or not at all, for its owner alone, never needed."""

import errno
import os
import shutil
import stat
import time

import pytest

from toolrest.io import cache
from toolrest.io.cache import cache_folder, keep_part, keep_text, new_part, open_kept, read_kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = cache_folder("a")
    assert found == tmp_path / "cache" / "toolrest" / "a"
    return found


def test_a_text_is_kept_for_its_owner(folder):
    keep_text(folder, "x", "häh")
    keep_text(folder, "x", "hoh")
    assert read_kept(folder, "x", 3) == "hoh"
    assert read_kept(folder, "x", 2) is None, "too long"
    assert [path.name for path in folder.iterdir()] == ["x"]
    assert stat.S_IMODE((folder / "x").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert read_kept(folder, "y", 9) is None and read_kept(None, "x", 9) is None


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder("a") is None
    keep_text(None, "x", "a")
    with new_part(None, "x") as file:
        assert file is None
    monkeypatch.setenv("XDG_CACHE_HOME", "here")  # not absolute, so that it is not meant
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("a") == tmp_path / ".cache" / "toolrest" / "a"


def test_what_is_not_kept_leaves_nothing_and_can_be_read_on(folder):
    with new_part(folder, "x") as file:
        assert file is not None
        file.write(b"abc")
        file.flush()
    assert not list(folder.iterdir())
    assert os.pread(file.fileno(), 3, 0) == b"abc"
    file.close()


@pytest.mark.parametrize("where", ["write", "fsync", "replace", "room"])
def test_a_full_disk_ends_nothing(folder, monkeypatch, where):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "no space left")

    keep_text(folder, "x", "old")
    if where == "room":
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    elif where == "write":
        monkeypatch.setattr(cache, "_open_new", full)
    else:
        monkeypatch.setattr(*(os, "fsync") if where == "fsync" else (cache.Path, "replace"), full)
    keep_text(folder, "x", "new")
    assert read_kept(folder, "x", 9) == "old"
    assert [path.name for path in folder.iterdir()] == ["x"]


@pytest.mark.parametrize("what", ["fifo", "folder", "another user's", "no utf-8"])
def test_what_is_no_kept_text_is_ignored(folder, monkeypatch, what):
    path = folder / "x"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\xff" if what == "no utf-8" else b"a")
    if what == "another user's":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert read_kept(folder, "x", 9) is None


def test_what_was_used_longest_ago_goes_first(folder, monkeypatch):
    monkeypatch.setattr(cache, "_MOST", 20)
    for at, name in enumerate("abc"):
        keep_text(folder, name, "12345678")
        if (folder / name).exists():
            os.utime(folder / name, (at, at))
        if name == "b":
            with open_kept(folder / "a"):
                pass  # used last
    assert sorted(path.name for path in folder.iterdir()) == ["a", "c"]


def test_what_was_never_finished_goes_after_a_day(folder):
    old, new = folder / "x.1.part", folder / "y.2.part"
    for path in (old, new):
        path.write_text("")
    os.utime(old, (0, time.time() - 2 * 86_400))
    keep_text(folder, "z", "a")
    assert {path.name for path in folder.iterdir()} == {"y.2.part", "z"}


def test_a_file_in_use_is_whole_when_another_takes_its_name(folder):
    keep_text(folder, "x", "first")
    with open_kept(folder / "x") as file:
        with new_part(folder, "x") as part:
            part.write(b"2nd")
            assert keep_part(folder, "x", part)
        part.close()
        assert file.read() == b"first"
    assert read_kept(folder, "x", 9) == "2nd"

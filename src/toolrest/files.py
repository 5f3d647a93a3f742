"""Files that are whole or not there, lines that are whole or cut off, and folders that are held."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from toolrest.errors import InputError
from toolrest.redaction import without_keys

_PATIENCE = 0.25
"""Seconds in which a process that took a lock only to look at a folder lets it go again."""


class TakenError(InputError):
    """Another process holds what is asked for."""


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, whatever happens meanwhile, and whoever else writes it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with part.open(
            "x", encoding="utf-8", errors="replace"
        ) as file:  # anew, so that no link is written through
            file.write(without_keys(text))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_json(path: Path, value: Any) -> None:
    """Add a line to a JSONL file and see it onto the disk.

    What a full disk cut off is taken back, so that the next line starts a line.
    """
    line = (without_keys(json.dumps(value, ensure_ascii=False)) + "\n").encode("utf-8", "replace")
    with path.open("ab") as file:
        before = file.tell()
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, before)
            raise


def whole_lines(path: Path) -> list[str]:
    """A file's lines but for a last one that a kill has cut off."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


def sync_tree(folder: Path) -> dict[str, int]:
    """See every file below a folder onto the disk.

    Returns:
        Their sizes in bytes, by their paths below the folder.
    """
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync_file(path)
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
        else:
            _sync(path)
    _sync(folder)
    return sizes


def sync_file(path: Path) -> None:
    """See a file onto the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Names of new files are on the disk once their folder is."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def only_one(path: Path, message: str) -> Iterator[int]:
    """Nobody else holds this file meanwhile, on this machine; it is let go however this ends.

    Yields:
        Its descriptor; a process that is started with it holds the file too, until it ends.

    Raises:
        TakenError: somebody does (`message`).
        InputError: the file cannot be written or locked.
    """
    try:
        held = _lock(path, message)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written in ({error.strerror})") from error
    try:
        yield held
    finally:
        os.close(held)


def _lock(path: Path, message: str) -> int:
    """The descriptor of the file at `path`, locked."""
    until = time.monotonic() + _PATIENCE
    while True:
        # For writing, which a network file system asks of who locks; no link is followed.
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            if time.monotonic() >= until:
                raise TakenError(message) from None
            time.sleep(0.01)
            continue
        except OSError as error:
            os.close(held)
            raise InputError(
                f"{path}: cannot be locked ({error.strerror}); use a folder on a disk that locks "
                "files"
            ) from error
        # Who held it may have removed it since: then nobody is kept out by this one.
        if _is_at(path, held):
            return held
        os.close(held)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False

"""What is kept between commands to save work, in the user's cache folder.

Nothing there is needed: a folder that cannot be written, a full disk, or a file that is gone only
costs the time to work it out again. Nothing there is trusted: who reads a file checks it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from toolrest.io.files import open_regular

_MOST = 4 << 30
"""Most bytes that are kept of one kind; what was used longest ago goes first."""
_ROOM = 1 << 30
"""Free bytes of the disk below which nothing is kept: a run needs them more."""
_LEFT_OVER = 86_400.0
"""Seconds after which a file that was not finished is nobody's."""


def cache_folder(kind: str) -> Path | None:
    """The folder of what is kept of a kind, made if it is missing: in `$XDG_CACHE_HOME`, or in
    `~/.cache`. None where it cannot be had.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        above = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
        folder = above / "toolrest" / kind
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home
        return None
    return folder


def open_kept(path: Path) -> BufferedReader | None:
    """Open a kept file for reading, and note that it was used. None where it is not there, or is
    another user's.
    """
    try:
        file = open_regular(path)
    except OSError:
        return None
    if os.fstat(file.fileno()).st_uid != os.getuid():
        file.close()
        return None
    with suppress(OSError):
        os.utime(path)
    return file


@contextmanager
def new_part(folder: Path | None, name: str) -> Iterator[BinaryIO | None]:
    """A new file to write in and to read, for its owner alone, which `keep_part` gives its name.

    It stays open after the `with` block, where its name is gone unless it was kept. None where
    there is no folder or little room.
    """
    path = None if folder is None else _part(folder, name)
    try:
        file = None if path is None or not _has_room(path.parent) else _open_new(path)
    except OSError:
        file = None
    try:
        yield file
    finally:
        if file is not None and path is not None:
            with suppress(OSError):
                path.unlink()


def keep_part(folder: Path, name: str, file: BinaryIO) -> bool:
    """Give the file of `new_part` its name, whole, in place of one that is there. False where that
    fails.
    """
    try:
        file.flush()
        os.fsync(file.fileno())
        _part(folder, name).replace(folder / name)
    except OSError:
        return False
    _clear(folder)
    return True


def keep_text(folder: Path | None, name: str, text: str) -> None:
    """Keep a text, whole or not at all."""
    with new_part(folder, name) as file, suppress(OSError):
        if file is not None and folder is not None:
            with file:
                file.write(text.encode())
                keep_part(folder, name, file)


def read_kept(folder: Path | None, name: str, most: int) -> str | None:
    """A kept text; None where there is none of at most so many bytes."""
    file = None if folder is None else open_kept(folder / name)
    if file is None:
        return None
    try:
        with file:
            found = file.read(most + 1)
        return None if len(found) > most else found.decode()
    except (OSError, UnicodeDecodeError):
        return None


def _part(folder: Path, name: str) -> Path:
    return folder / f"{name}.{os.getpid()}.part"


def _has_room(folder: Path) -> bool:
    return shutil.disk_usage(folder).free >= _ROOM


def _open_new(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "w+b")


def _clear(folder: Path) -> None:
    """Remove what is too much, and what was never finished. Who reads a file goes on with it."""
    found = []
    for path in folder.iterdir():
        with suppress(OSError):
            state = path.lstat()
            if path.suffix == ".part":
                if time.time() - state.st_mtime > _LEFT_OVER:
                    path.unlink()
            else:
                found.append((state.st_mtime, state.st_size, path))
    kept = 0
    for _, size, path in sorted(found, reverse=True):
        kept += size
        if kept > _MOST:
            with suppress(OSError):
                path.unlink()

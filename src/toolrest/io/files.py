"""Files that are whole or not there, lines that are whole or cut off, and folders that are held."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from toolrest.errors import InputError
from toolrest.io.foreign import parse_json
from toolrest.io.redaction import refuse_keys

_PATIENCE = 0.25
"""Seconds in which a process that took a lock only to look at a folder lets it go again."""

MOST_TEXT = 1 << 30
"""Bytes of a file that is read whole; a sparse one can seem to be any size."""
LONGEST_LINE = 64 << 20
"""Bytes of one line."""
MOST_JSON = 256 << 20
"""Bytes of a file that is read as one JSON value."""


class TakenError(InputError):
    """Another process holds what is asked for."""


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, whatever happens meanwhile, and whoever else writes it.

    Raises:
        InputError: the text holds a key of the environment.
    """
    refuse_keys(text, path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with part.open(
            "x", encoding="utf-8", errors="replace", newline="\n"
        ) as file:  # anew, so that no link is written through
            file.write(text)
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

    Raises:
        InputError: the value holds a key of the environment.
    """
    text = json.dumps(value, ensure_ascii=False) + "\n"
    refuse_keys(text, path)
    line = text.encode("utf-8", "replace")
    with open_to_add(path) as file:
        before = file.tell()
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, before)
            raise


def open_to_add(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file to write at its end and to read it; it is made where there is none.

    Raises:
        OSError: it cannot be written, or is no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    file = os.fdopen(os.open(path, flags, 0o666), "a+b", buffering)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def open_regular(path: Path) -> BufferedReader:
    """Open a file that somebody else made, to read it.

    A FIFO would be waited for without end, a device be read without end, so both are refused.

    Raises:
        OSError: it is not there, or no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before: to open a device can be an act
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # Without blocking, since what lies there can be exchanged in between.
    held = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(held, "rb")
    if not stat.S_ISREG(os.fstat(held).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_whole(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of a file that somebody else made.

    Args:
        most: bytes that it may have.

    Raises:
        OSError: see `open_regular`; or it is longer.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"over {most // 1024**2} MiB", str(path))
        return file.read(most)


def read_text(path: Path, errors: str = "strict", most: int = MOST_TEXT) -> str:
    """The text of a file that somebody else made, its ends of lines as they are.

    Raises:
        OSError: see `read_whole`.
        UnicodeDecodeError: it is not UTF-8, and `errors` is "strict".
    """
    return read_whole(path, most).decode("utf-8", errors)


def read_json(path: Path) -> Any:
    """The value of a JSON file that somebody else made.

    Raises:
        OSError: see `read_whole`.
        ValueError: it is no JSON, or nested too deeply.
    """
    return parse_json(read_text(path, most=MOST_JSON))


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, without their ends.

    They end at "\n" or "\r\n" alone. Python's own splitting also ends them at U+2028, form feeds
    and the like, which JSON leaves inside of a line.
    """
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def iterate_lines(path: Path, errors: str = "replace") -> Iterator[str]:
    """A file's lines as `split_lines` gives them, one in memory at a time.

    Args:
        errors: what happens to bytes that are not UTF-8.

    Raises:
        OSError: see `open_regular`; or a line is over `LONGEST_LINE` bytes.
    """
    with open_regular(path) as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise OSError(errno.EFBIG, f"a line over {LONGEST_LINE >> 20} MiB", str(path))
            text = line.decode("utf-8" if number else "utf-8-sig", errors)
            yield text.removesuffix("\n").removesuffix("\r")
            number += 1


def whole_lines(path: Path) -> list[str]:
    """A file's lines with their ends, but for a last one that a kill has cut off.

    Raises:
        InputError: it is no regular file, or one of more bytes than `MOST_TEXT`.
    """
    try:
        text = read_text(path, errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return [line + "\n" for line in text.split("\n")[:-1]]


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, all of them.

    Raises:
        OSError: see `open_regular`.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

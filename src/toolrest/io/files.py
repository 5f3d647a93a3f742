"""Atomic writes, append-only JSONL, size-limited reads, and file locks."""

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
"""Seconds to wait for a lock; who only checks a folder releases it sooner."""

MOST_TEXT = 1 << 30
"""Most bytes of a file that is read whole; a sparse file can claim any size."""
LONGEST_LINE = 64 << 20
"""Most bytes of one line."""
MOST_JSON = 256 << 20
"""Most bytes of a file that is read as one JSON value."""


class TakenError(InputError):
    """Another process holds the lock."""


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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses in the `with` block into an `InputError` that names the path."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_json(path: Path, value: Any) -> None:
    """Append a line to a JSONL file and fsync it.

    A line that a full disk has cut off is removed again, so that the next one starts a line.

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
    """Open a file for appending and reading, and create it if it is missing.

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
    """Open an untrusted file for reading.

    A FIFO could block for ever and a device never end, so both are refused.

    Raises:
        OSError: it is not there, or no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before: to open a device can be an act
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # Without blocking, since what lies there can be exchanged in between.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_whole(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of an untrusted file.

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
    """The text of an untrusted file; line ends stay as they are.

    Raises:
        OSError: see `read_whole`.
        UnicodeDecodeError: it is not UTF-8, and `errors` is "strict".
    """
    return read_whole(path, most).decode("utf-8", errors)


def read_json(path: Path) -> Any:
    """The value of an untrusted JSON file.

    Raises:
        OSError: see `read_whole`.
        ValueError: it is no JSON, or nested too deeply.
    """
    return parse_json(read_text(path, most=MOST_JSON))


def split_lines(text: str) -> list[str]:
    r"""The lines of a text, without their ends.

    Only "\n" and "\r\n" end a line. `str.splitlines` also splits at U+2028, form feeds and the
    like, which JSON allows inside a line.
    """
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def iterate_lines(path: Path, errors: str = "replace") -> Iterator[str]:
    """The lines of a file as `split_lines` gives them, one in memory at a time.

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
    """The complete lines of a file, with their line ends; a last line without one is left out.

    Raises:
        InputError: it is no regular file, or one of more bytes than `MOST_TEXT`.
    """
    try:
        text = read_text(path, errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return [line + "\n" for line in text.split("\n")[:-1]]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex.

    Raises:
        OSError: see `open_regular`.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(folder: Path) -> dict[str, int]:
    """Fsync every file below a folder.

    Returns:
        {path below the folder: size in bytes}.
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
    """Fsync a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Fsync a folder, which holds the names of its files."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def only_one(path: Path, message: str) -> Iterator[int]:
    """Hold an exclusive lock on a file during the `with` block, on this machine.

    Yields:
        The file's descriptor. A child process that inherits it holds the lock too, until it ends.

    Raises:
        TakenError: another process holds it (`message`).
        InputError: the file cannot be written or locked.
    """
    try:
        descriptor = _lock(path, message)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written in ({error.strerror})") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(path: Path, message: str) -> int:
    """Open and lock the file at `path`; return its descriptor."""
    until = time.monotonic() + _PATIENCE
    while True:
        # For writing, which a network file system asks of who locks; no link is followed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= until:
                raise TakenError(message) from None
            time.sleep(0.01)
            continue
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"{path}: cannot be locked ({error.strerror}); use a folder on a disk that locks "
                "files"
            ) from error
        # Who held it may have removed it since: then nobody is kept out by this one.
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `only_one`; nothing is written.

    The look itself takes a shared lock for a moment, which is shorter than `only_one` waits.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # nobody has made it
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk that does not lock, on which nobody holds any
        return False
    finally:
        os.close(descriptor)
    return False


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False

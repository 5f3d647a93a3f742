"""Wrong input, and a disk that takes no more, are one line on standard error and exit code 2."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from toolrest.errors import InputError, printable, reason
from toolrest.io.redaction import redacted
from toolrest.io.terminal import is_first_process, say

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_THE_DISK = (*_FULL, errno.EROFS, errno.EIO, errno.ENAMETOOLONG)
"""What no code can mend: a disk that is full, read only or broken, a name too long for it."""


def is_full(error: BaseException) -> bool:
    """Whether a disk that is full, or its limit, ended a writer; some have errors of their own."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return any(os.strerror(code) in str(error) for code in _FULL)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an `InputError` into its line."""
    try:
        yield
    except InputError as error:
        if is_first_process():
            say(f"toolrest: {printable(redacted(str(error)))}", err=True)
        raise typer.Exit(2) from None
    except MemoryError:
        say("toolrest: memory ran out; ask for less at once, or use a larger machine", err=True)
        raise typer.Exit(2) from None
    except Exception as error:
        known = isinstance(error, OSError) and error.errno in _OF_THE_DISK
        if not known and not is_full(error):
            raise
        named = error.filename if isinstance(error, OSError) else None
        where = f"{named}: " if named else ""
        why = (error.strerror if isinstance(error, OSError) else None) or reason(error)
        said = f"{where}cannot be written or read ({why})"
        text = f"{said}; make room on the disk, or name another place"
        say(f"toolrest: {printable(redacted(text))}", err=True)
        raise typer.Exit(2) from None

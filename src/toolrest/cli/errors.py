"""Wrong input, and a disk that takes no more, are one line on standard error and exit code 2."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from toolrest.errors import InputError
from toolrest.naming import printable
from toolrest.redaction import redacted
from toolrest.terminal import say

_OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENAMETOOLONG)
}
"""What no code can mend: a disk that is full, over a limit, read only or broken; a long name."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an `InputError` into its line."""
    try:
        yield
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":
            say(f"toolrest: {printable(redacted(str(error)))}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        said = f"{where}cannot be written or read ({error.strerror})"
        text = f"{said}; make room on the disk, or name another place"
        say(f"toolrest: {printable(redacted(text))}", err=True)
        raise typer.Exit(2) from None
    except MemoryError:
        say("toolrest: memory ran out; ask for less at once, or use a larger machine", err=True)
        raise typer.Exit(2) from None

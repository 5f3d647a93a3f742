"""Wrong input is one line on standard error and exit code 2."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from toolrest.errors import InputError
from toolrest.naming import printable
from toolrest.redaction import redacted
from toolrest.terminal import say


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an `InputError` into its line."""
    try:
        yield
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":
            say(f"toolrest: {printable(redacted(str(error)))}", err=True)
        raise typer.Exit(2) from None
    except MemoryError:
        say("toolrest: memory ran out; ask for less at once, or use a larger machine", err=True)
        raise typer.Exit(2) from None

"""Wrong input is one line on standard error and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from toolrest.errors import InputError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an `InputError` into its line."""
    try:
        yield
    except InputError as error:
        typer.echo(f"toolrest: {error}", err=True)
        raise typer.Exit(2) from None

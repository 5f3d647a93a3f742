"""Ctrl-C before training hears it, as while libraries and the policy are loaded: what is kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from toolrest.io.terminal import is_first_process, say

if TYPE_CHECKING:
    from toolrest.recipe import Recipe
    from toolrest.runs.folder import RunFolder

NOTHING = "stopped before anything was done: nothing is kept. Begin with: the same command"
AS_IT_WAS = "stopped before anything was done: the run is as it was. Go on with: the same command"


@contextmanager
def told_when_stopped(what: Callable[[], str]) -> Iterator[None]:
    """Turn an interrupt into a line, said by the first process, and exit code 130.

    Args:
        what: gives the line.
    """
    try:
        yield
    except KeyboardInterrupt:
        if is_first_process():
            say(what(), err=True)
        raise typer.Exit(130) from None


def what_is_kept(run: "RunFolder", recipe: "Recipe") -> str:
    """What is said where a run has been stopped."""
    if not run.is_used():
        return NOTHING
    return f"stopped; what is done is kept. Go on with: {going_on(run, recipe)}"


def going_on(run: "RunFolder", recipe: "Recipe") -> str:
    """What goes on with a run; a new one in which nothing was done leaves nothing to resume."""
    from toolrest.recipe import names_code

    if not run.is_used():
        return "the same command"
    trust = " --trust-remote-code" if names_code(recipe) else ""
    return f"toolrest train --resume {run.path}{trust}"

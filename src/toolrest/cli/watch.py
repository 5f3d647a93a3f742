"""`toolrest watch`: a run that another process trains."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import lost, say

if TYPE_CHECKING:
    from toolrest.report.following import Following
    from toolrest.report.live import LiveView
    from toolrest.runs.folder import RunFolder

_PAUSE = 1.0
"""Seconds between two looks."""


def watch(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as runs/NAME.")],
) -> None:
    """Follow a run that another terminal trains, to its end. Ctrl-C leaves it as it is."""
    with one_line_errors():
        from toolrest.report.following import Following, find_followed
        from toolrest.report.live import LiveView

        found = find_followed(run)
        ended: bool | None = None
        with LiveView(rollouts=found.rollouts, rate=1) as view:
            following = Following(found, view)
            try:
                ended = _follow(found, following, view)
            except KeyboardInterrupt:
                view.close()
                say(f"no longer watched, and as it was: {found.path}", err=True)
        if ended is None:
            return
        if ended:
            _say_done(found)
            return
        _say_stopped(found, following)
    raise typer.Exit(1)


def _follow(run: "RunFolder", following: "Following", view: "LiveView") -> bool | None:
    """Look until the run ends: True where it is done, False where its process has ended before;
    None where nobody sees the view any more.
    """
    from toolrest.report.following import is_held

    while lost() is None:
        held = is_held(run)  # before the look, so that what was written last is seen
        following.look()
        if not held:
            return run.summary.is_file()
        time.sleep(_PAUSE)
    return None


def _say_done(run: "RunFolder") -> None:
    from toolrest.cli.summary import print_summary
    from toolrest.io.objects import object_or_none

    summary = object_or_none(run.summary)
    try:
        if summary is None:
            raise ValueError
        print_summary(summary, run)
    except (ValueError, KeyError, TypeError):
        say(f"{run.path}: the run is done, and its summary cannot be read")


def _say_stopped(run: "RunFolder", following: "Following") -> None:
    """Where the run is, and the command that goes on with it."""
    from toolrest.cli.stopping import going_on
    from toolrest.recipe import load_recipe

    where = f"at step {following.step} of {following.steps}" if following.step else "before a step"
    if not run.recipe.is_file():  # begun and taken away: nothing was done in it
        say(f"{run.path}: its process has ended {where}, and nothing is kept")
        return
    command = going_on(run, load_recipe(run.recipe, []))
    say(f"{run.path}: its process has ended {where}; nobody trains it now. Go on with: {command}")

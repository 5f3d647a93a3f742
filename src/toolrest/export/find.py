"""Finds the policy of a run that is to be taken out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolrest.errors import InputError, reason
from toolrest.io.files import read_json
from toolrest.io.foreign import user_path
from toolrest.recipe import Recipe, load_run_recipe
from toolrest.runs.checkpoints import policies_by_step
from toolrest.runs.folder import RunFolder
from toolrest.runs.missing import no_run


@dataclass(frozen=True)
class Taken:
    """A policy of a run."""

    run: RunFolder
    """The run."""
    recipe: Recipe
    """The run's, with the run's own policy in it: what was trained."""
    folder: Path
    """Where the policy lies."""
    when: str | None
    """The run's evaluation that is of this policy; None: there is none."""
    step: int | None
    """Its optimiser steps; None: of a warm start."""


def find_policy(
    source: str, checkpoint: int | None, *, warm_start: bool, trusted: bool = False
) -> Taken:
    """The policy of a run: the trained one of a run that is done, or what is asked for.

    Args:
        checkpoint: the checkpoint after so many steps.
        warm_start: the policy after supervised learning.
        trusted: whether code that comes with the policy may run.

    Raises:
        InputError: no run is there, it has no such policy, or it is not done.
    """
    run = RunFolder(user_path(source, source))
    if not run.recipe.is_file():
        raise InputError(f"{source}: {no_run(run.path)}")
    if checkpoint is not None and warm_start:
        raise InputError("--checkpoint and --warm-start are two policies; give one of them")
    recipe = load_run_recipe(run.recipe, [], trusted=trusted)
    rl = recipe.method == "rl"
    steps = policies_by_step(run, recipe)
    if warm_start or (not rl and checkpoint is None):
        if warm_start or run.summary.is_file():
            return Taken(run, recipe, _warm(run), "warm_start" if rl else "after", None)
        raise InputError(f"{run.path}: the run is not done; {_go_on(run)}")
    if checkpoint is None:
        if not run.summary.is_file():
            raise InputError(f"{run.path}: the run is not done; {_instead(run, steps)}")
        checkpoint = _end(run)
    if checkpoint not in steps:
        known = ", ".join(map(str, steps)) or "none"
        raise InputError(
            f"--checkpoint {checkpoint}: {run.path} has it not, or not whole; it has {known}"
        )
    last = run.summary.is_file() and checkpoint == _end(run)
    return Taken(run, recipe, steps[checkpoint], "after" if last else None, checkpoint)


def _warm(run: RunFolder) -> Path:
    if not (run.warm_start / "config.json").is_file():
        raise InputError(f"{run.path}: the run has no policy after a warm start")
    return run.warm_start


def _instead(run: RunFolder, steps: dict[int, Path]) -> str:
    if not steps:
        return f"it has no checkpoint yet; {_go_on(run)}"
    return f"export a checkpoint by --checkpoint {max(steps)}, or {_go_on(run)}"


def _go_on(run: RunFolder) -> str:
    return f"go on with it: toolrest train --resume {run.path}"


def _end(run: RunFolder) -> int:
    """The optimiser steps of a run that is done."""
    try:
        return int(read_json(run.summary)["steps"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{run.summary}: cannot be read ({reason(error)}), so what the run ended with is not "
            "known; put it back"
        ) from error

"""Finds the policy of a run that is to be taken out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.foreign import user_path
from toolrest.policy.adapters import has_adapters
from toolrest.recipe import Recipe, load_run_recipe
from toolrest.runs.folder import RunFolder, checkpoint_step


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
        raise InputError(f"{source}: no run is there (it has no recipe.yaml)")
    if checkpoint is not None and warm_start:
        raise InputError("--checkpoint and --warm-start are two policies; give one of them")
    recipe = load_run_recipe(run.recipe, [], trusted=trusted)
    rl = recipe.method == "rl"
    steps = _checkpoints(run, recipe)
    if warm_start or (not rl and checkpoint is None):
        if warm_start or run.summary.is_file():
            return Taken(run, recipe, _warm(run), "warm_start" if rl else "after", None)
        raise InputError(f"{run.path}: the run is not done; {_go_on(run)}")
    if checkpoint is None:
        if not run.summary.is_file():
            raise InputError(f"{run.path}: the run is not done; {_instead(run, steps)}")
        if not steps:
            raise InputError(f"{run.path}: the run is done, but its checkpoints are gone")
        return Taken(run, recipe, steps[max(steps)], "after", max(steps))
    if checkpoint not in steps:
        known = ", ".join(map(str, sorted(steps))) or "none"
        raise InputError(f"--checkpoint {checkpoint}: {run.path} has it not; it has {known}")
    last = run.summary.is_file() and checkpoint == max(steps)
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


def _checkpoints(run: RunFolder, recipe: Recipe) -> dict[int, Path]:
    """{optimiser steps: folder} of the checkpoints that hold a policy."""
    if recipe.engine.name == "verl":
        found = {
            number * recipe.steps_per_generation: folder / "actor" / "huggingface"
            for folder in run.checkpoints.glob("global_step_*")
            if (number := _number(folder, "global_step_"))
        }
    else:
        found = {
            checkpoint_step(folder): folder
            for folder in run.checkpoints.glob("checkpoint-*")
            if _number(folder, "checkpoint-")
        }
    return {
        step: folder
        for step, folder in found.items()
        if any(folder.glob("*.safetensors"))
        and ((folder / "config.json").is_file() or has_adapters(folder))
    }


def _number(folder: Path, start: str) -> int:
    text = folder.name.removeprefix(start)
    return int(text) if text.isdecimal() else 0

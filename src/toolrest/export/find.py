"""Finds the policy of a run that is to be taken out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolrest.engines.policies import policies_by_step
from toolrest.errors import InputError, reason
from toolrest.io.files import read_json
from toolrest.io.foreign import user_path
from toolrest.policy.adapters import CONFIG, has_adapters
from toolrest.policy.folder import kept_policy, whole_policy
from toolrest.policy.own_code import names_own_code
from toolrest.recipe import Recipe, load_recipe, load_run_recipe
from toolrest.runs.best import best_of
from toolrest.runs.folder import RunFolder
from toolrest.runs.missing import no_run

Checkpoint = int | Literal["best"] | None
"""Which of a run: after so many steps, the best, or its last."""


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
    source: str, checkpoint: Checkpoint, *, warm_start: bool, trusted: bool = False
) -> Taken:
    """The policy of a run: the trained one of a run that is done, or what is asked for.

    Args:
        checkpoint: the checkpoint after so many steps, or the best one by `evaluation.metric`.
        warm_start: the policy after supervised learning.
        trusted: whether code that comes with the policy may run.

    Raises:
        InputError: no run is there, it has no such policy, it is not done, or it was trained by
            code that comes with its policy and nobody says that it may run.
    """
    taken = _find(source, checkpoint, warm_start=warm_start, trusted=trusted)
    if not trusted:
        _check_own_code(taken)
    return taken


def _check_own_code(taken: Taken) -> None:
    """Refuse to take a policy that was trained by code of its own for transformers' class.

    Raises:
        InputError: it was, and the command does not say that the code may run.
    """
    folder = taken.folder
    if has_adapters(folder):
        folder = kept_policy(whole_policy(str(folder)), folder / CONFIG)
    try:
        named = names_own_code(folder)
    except (OSError, ValueError, RecursionError):  # whoever loads it says what is broken
        return
    if named and load_recipe(taken.run.recipe, []).trust_remote_code:
        raise InputError(
            f"{taken.run.path}: it was trained by code that comes with its policy, without which "
            "it would be another; read that code, and if you trust it, give --trust-remote-code"
        )


def _find(source: str, checkpoint: Checkpoint, *, warm_start: bool, trusted: bool) -> Taken:
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
    if checkpoint == "best":
        checkpoint = best_of(run, recipe, steps)
    asked = checkpoint
    if checkpoint is None:
        if not run.summary.is_file():
            raise InputError(f"{run.path}: the run is not done; {_instead(run, steps)}")
        checkpoint = _end(run)
    if checkpoint not in steps:
        known = ", ".join(map(str, steps)) or "none"
        raise InputError(
            f"--checkpoint {checkpoint}: {run.path} has it not, or not whole; it has {known}"
        )
    last = run.summary.is_file() and checkpoint == (_end(run) if asked is None else _known_end(run))
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


def _known_end(run: RunFolder) -> int | None:
    """The optimiser steps of a run that is done, where its summary can be read."""
    try:
        return _end(run)
    except InputError:
        return None


def _end(run: RunFolder) -> int:
    """The optimiser steps of a run that is done."""
    try:
        return int(read_json(run.summary)["steps"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{run.summary}: cannot be read ({reason(error)}), so what the run ended with is not "
            "known; put it back"
        ) from error

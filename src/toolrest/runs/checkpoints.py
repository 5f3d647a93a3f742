"""The checkpoints of a run that hold a whole policy, whichever engine wrote them."""

from __future__ import annotations

from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.files import read_text
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder

VERL_CHECKPOINT = "global_step_"
"""How verl begins the names of its checkpoints' folders."""


def policies_by_step(run: RunFolder, recipe: Recipe) -> dict[int, Path]:
    """{optimiser steps: the policy's folder}, in order. What was not written whole is left out.

    Args:
        recipe: the run's.

    Raises:
        InputError: see `newest_of_verl`.
    """
    if recipe.engine.name != "verl":
        return run.whole_checkpoints()
    newest = newest_of_verl(run.checkpoints)
    found = {
        int(number) * recipe.steps_per_generation: folder / "actor" / "huggingface"
        for folder in run.checkpoints.glob(f"{VERL_CHECKPOINT}*")
        if (number := folder.name.removeprefix(VERL_CHECKPOINT)).isdecimal()
        and int(number) <= newest
    }
    return {step: folder for step, folder in sorted(found.items()) if _has_policy(folder)}


def newest_of_verl(checkpoints: Path) -> int:
    """verl's step of its newest whole checkpoint, from the file that it writes last; 0: none.

    Raises:
        InputError: the file is broken.
    """
    path = checkpoints / "latest_checkpointed_iteration.txt"
    try:
        return int(read_text(path).strip()) if path.is_file() else 0
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it holds one number") from error


def _has_policy(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))

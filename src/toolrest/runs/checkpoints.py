"""The checkpoints of a run that hold a whole policy, whichever engine wrote them."""

from __future__ import annotations

from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.files import read_text
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder

_VERL = "global_step_"


def policies_by_step(run: RunFolder, recipe: Recipe) -> dict[int, Path]:
    """{optimiser steps: the policy's folder}, in order. What was not written whole is left out.

    Args:
        recipe: the run's.

    Raises:
        InputError: the file in which verl keeps its newest checkpoint's number is broken.
    """
    if recipe.engine.name != "verl":
        return run.whole_checkpoints()
    newest = _newest_of_verl(run.checkpoints)
    found = {
        int(number) * recipe.steps_per_generation: folder / "actor" / "huggingface"
        for folder in run.checkpoints.glob(f"{_VERL}*")
        if (number := folder.name.removeprefix(_VERL)).isdecimal() and int(number) <= newest
    }
    return {step: folder for step, folder in sorted(found.items()) if _has_policy(folder)}


def _newest_of_verl(checkpoints: Path) -> int:
    """verl's step of the newest whole checkpoint, which it writes last; 0: none."""
    path = checkpoints / "latest_checkpointed_iteration.txt"
    try:
        return int(read_text(path).strip()) if path.is_file() else 0
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it holds one number") from error


def _has_policy(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))

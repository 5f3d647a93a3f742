"""The policies that a run has saved, whichever engine trained it."""

from __future__ import annotations

from pathlib import Path

from toolrest.engines.verl.checkpoints import whole_policies
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder


def policies_by_step(run: RunFolder, recipe: Recipe) -> dict[int, Path]:
    """{optimiser steps: the policy's folder}, in order. What was not written whole is left out.

    Args:
        recipe: the run's.

    Raises:
        InputError: see `whole_policies`.
    """
    if recipe.engine.name != "verl":
        return run.whole_checkpoints()
    each = recipe.steps_per_generation
    return {step * each: folder for step, folder in whole_policies(run.checkpoints).items()}

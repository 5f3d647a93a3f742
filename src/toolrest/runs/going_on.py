"""Where a run goes on from."""

from __future__ import annotations

from pathlib import Path

from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder


def resumable_checkpoint(run: RunFolder, recipe: Recipe) -> Path | None:
    """The newest checkpoint that TRL's training goes on from exactly, or None.

    It is whole, and of a generation's end: rollouts are in no checkpoint, so that one between two
    optimiser steps on the same rollouts lacks the rest of them. There is one after a last step
    that is inside a generation, which is the end of training, unless the run is made longer.

    Args:
        recipe: its recipe, with the steps that it goes on to.
    """
    each, last = recipe.steps_per_generation, recipe.max_steps
    ends = [
        folder
        for step, folder in run.whole_checkpoints().items()
        if step % each == 0 or step >= last
    ]
    return ends[-1] if ends else None

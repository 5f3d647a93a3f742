"""The length of a run in passes over its rows."""

from __future__ import annotations

import math

from toolrest.errors import InputError, counted
from toolrest.estimate.settings import Setting
from toolrest.recipe import Recipe


def settle_epochs(recipe: Recipe, rows: int) -> tuple[Recipe, tuple[Setting, ...]]:
    """The recipe with `max_steps` in place of `max_epochs`, and what that is.

    A pass has as many whole generations as the rows have prompts for; rows that are left over are
    others in each pass. The run ends at a whole generation.

    Args:
        rows: that are trained on.
    """
    if recipe.max_epochs is None:
        return recipe, ()
    whole = rows // recipe.rollout.prompts_per_step
    steps = max(1, math.floor(recipe.max_epochs * whole)) * recipe.steps_per_generation
    why = f"{recipe.max_epochs:g} x {counted(rows, 'row')} (max_epochs)"
    if "max_steps" in recipe.model_fields_set and recipe.max_steps <= steps:
        steps, why = recipe.max_steps, f"fewer than the {steps} of {why}"
    changed = recipe.model_copy(update={"max_steps": steps, "max_epochs": None})
    return changed, (Setting("max_steps", steps, why),)


def refuse_epochs(recipe: Recipe, where: str) -> None:
    """Refuse `max_epochs` where nobody counts the rows.

    Args:
        where: what asks for the number of steps.

    Raises:
        InputError: the recipe says it.
    """
    if recipe.max_epochs is not None:
        raise InputError(
            f"max_epochs={recipe.max_epochs:g}: {where} counts no rows; give max_steps in its place"
        )

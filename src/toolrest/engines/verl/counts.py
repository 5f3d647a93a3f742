"""Optimiser steps as verl counts: whole generations."""

from __future__ import annotations

from toolrest.errors import InputError
from toolrest.recipe import Recipe


def generations(recipe: Recipe, key: str, updates: int) -> int:
    """A number of optimiser steps as a number of generations.

    Args:
        key: that says it.

    Raises:
        InputError: they end inside a generation.
    """
    each = recipe.steps_per_generation
    if updates % each:
        raise InputError(
            f"{key}={updates}: with engine=verl it counts whole generations of {each} optimiser "
            f"steps; use {(updates // each + 1) * each}"
        )
    return updates // each

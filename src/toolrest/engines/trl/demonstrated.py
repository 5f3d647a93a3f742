"""The rows that supervised learning can be taught by."""

from __future__ import annotations

from collections.abc import Sequence

from toolrest.data.sample import Sample
from toolrest.errors import InputError
from toolrest.recipe import Recipe


def supervised(recipe: Recipe) -> str:
    """The supervised method of a run, before reinforcement learning or alone; or `none`."""
    return recipe.warm_start.method if recipe.method == "rl" else recipe.method


def demonstrated(recipe: Recipe, rows: Sequence[Sample]) -> list[Sample]:
    """The rows with a demonstration.

    Raises:
        InputError: there are none.
    """
    shown = [sample for sample in rows if sample.demonstration is not None]
    if not shown:
        raise InputError(
            f"{supervised(recipe)}: no row has a demonstration; sources with thoughts "
            "have them (an RLLA .json file, messages with reasoning_content), and any source "
            "with data.think=false"
        )
    return shown

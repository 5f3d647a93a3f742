"""Whether there are rows enough to train on."""

from __future__ import annotations

from toolrest.errors import InputError
from toolrest.recipe import Recipe


def least_rows(recipe: Recipe) -> int:
    """How many rows must be there: those of a generation, each once. Supervised learning takes
    fewer than its batch, and says so.
    """
    return recipe.rollout.prompts_per_step if recipe.method == "rl" else 1


def require_rows(recipe: Recipe, count: int, noun: str = "rows", *, worded: bool = True) -> None:
    """Check that there are rows enough.

    Args:
        count: of those that are left to train on.
        noun: what they are.
        worded: whether they are prompts, some of which were too long.

    Raises:
        InputError: there are fewer than `least_rows`.
    """
    least = least_rows(recipe)
    if count >= least:
        return
    key, mend = "", "lower data.heldout_fraction"
    if recipe.method == "rl":
        key, mend = f", fewer than rollout.prompts_per_step={least}", "lower it"
    longer = ", or raise data.max_prompt_tokens" if worded else ""
    raise InputError(f"data: {count} {noun} are left to train on{key}; {mend}{longer}")

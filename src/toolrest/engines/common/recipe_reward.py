"""The reward that a recipe trains on."""

from __future__ import annotations

from toolrest.engines.common.reward import ToolReward
from toolrest.recipe import Recipe


def recipe_reward(recipe: Recipe, schedule: str | None = None, opening: str = "") -> ToolReward:
    """The reward by a recipe's section `reward`.

    Args:
        schedule: one in place of the recipe's, such as `constant`, under which the rewards of
            different steps compare.
        opening: see `ToolReward`.
    """
    options = recipe.reward
    return ToolReward(
        recipe.dialect,
        schedule or options.schedule,
        correctness=options.correctness,
        punish_over_calls=options.punish_over_calls,
        normalise_strings=options.normalise_strings,
        lenient_types=options.lenient_types,
        needless_turn=options.needless_turn,
        opening=opening,
    )

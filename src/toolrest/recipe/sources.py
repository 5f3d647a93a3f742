"""What a recipe says of its data, as the data folder takes it."""

from __future__ import annotations

from toolrest.data.decompose import Rendering
from toolrest.data.sources import Source
from toolrest.recipe import Recipe


def recipe_sources(recipe: Recipe) -> list[Source]:
    """The sources of a recipe; none where it has the embedded world's tasks."""
    if recipe.data.path is not None:
        return [Source(recipe.data.path)]
    return [Source(**source.model_dump()) for source in recipe.data.sources]


def recipe_rendering(recipe: Recipe) -> Rendering:
    """How a recipe has samples written; what depends on the policy's chat template is settled by
    `toolrest.policy.fitting` before.
    """
    rlla = recipe.dialect == "rlla"
    return Rendering(
        dialect=recipe.dialect,
        style=recipe.data.prompt or ("rlla" if rlla else "template"),
        # the thoughts of an episode's earlier turns stay, so they do before its single steps
        thoughts="all" if recipe.environment.source else recipe.data.thoughts,
        think=rlla if recipe.data.think is None else recipe.data.think,
        thought_sentences=recipe.data.thought_sentences,
    )

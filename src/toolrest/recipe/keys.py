"""A recipe by its dotted keys, such as `rollout.group_size`."""

from __future__ import annotations

from functools import reduce
from typing import Any

from toolrest.recipe.schema import Recipe


def says(recipe: Recipe, key: str) -> bool:
    """Whether a recipe says a key, such as `max_steps` or `rollout.group_size`, rather than leaving
    it to the schema; one that was dumped whole says all of them.
    """
    *sections, name = key.split(".")
    return name in reduce(getattr, sections, recipe).model_fields_set


def value_of(recipe: Recipe, key: str) -> Any:
    """The value of a key of a section, such as `rollout.group_size`."""
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)


def changed(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """The recipe with other values of keys such as `rollout.group_size`, which are not checked."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    made = {
        section: getattr(recipe, section).model_copy(update=each)
        for section, each in sections.items()
    }
    return recipe.model_copy(update=made)

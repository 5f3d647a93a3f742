"""What a run is: one recipe, the same for every engine."""

from toolrest.recipe.keys import changed, says, value_of
from toolrest.recipe.load import (
    load_recipe,
    load_run_recipe,
    override,
    parse_recipe,
    recipe_of_text,
)
from toolrest.recipe.resume import RESUMABLE, check_resumable, extends, may_change
from toolrest.recipe.schema import EMBEDDED, SHIPPED_SHARDING, Recipe
from toolrest.recipe.sections import Data, Engine
from toolrest.recipe.trust import check_trusted, names_code
from toolrest.recipe.write import dump_recipe, read_reasons

__all__ = [
    "EMBEDDED",
    "RESUMABLE",
    "SHIPPED_SHARDING",
    "Data",
    "Engine",
    "Recipe",
    "changed",
    "check_resumable",
    "check_trusted",
    "dump_recipe",
    "extends",
    "load_recipe",
    "load_run_recipe",
    "may_change",
    "names_code",
    "override",
    "parse_recipe",
    "read_reasons",
    "recipe_of_text",
    "says",
    "value_of",
]

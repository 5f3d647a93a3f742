"""Plans of grids for tests."""

from toolrest.experiments.grid import make_grid
from toolrest.experiments.methods import read_methods
from toolrest.experiments.plan import make_stability_plan
from toolrest.recipe import parse_recipe

RECIPE = {
    "max_steps": 8,
    "save_steps": 8,
    "rollout": {"prompts_per_step": 4, "group_size": 2},
    "optimizer": {"mini_batch": 1},
    "evaluation": {"every": 4, "samples": 2},
}


def plan_of(methods="grpo,rest", rates=(1e-4, 2e-4), seeds=(0, 1), recipe=RECIPE):
    """A plan whose baseline is the first of the methods."""
    grid = make_grid(read_methods(methods), rates)
    return make_stability_plan(parse_recipe(recipe, "x"), grid, seeds, methods.partition(",")[0], 1)

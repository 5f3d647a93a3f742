"""What must fit together in what a recipe says of its evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolrest.errors import InputError
from toolrest.recipe.keys import changed, says

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe


def check_evaluation(recipe: Recipe) -> None:
    """Check what a recipe says of its evaluations against the rest.

    Raises:
        InputError: the first thing that does not fit or would be ignored, with the mend.
    """
    found = (*_before(recipe), *_rows(recipe), *_benchmarks(recipe), *_on_the_way(recipe))
    for wrong, said in (*found, *_collapse(recipe)):
        if wrong:
            raise InputError(said)


def without_held_out_rows(recipe: Recipe) -> Recipe:
    """The recipe as it is meant where it has rows of their own to evaluate on, and says nothing of
    `data.heldout_fraction`: no row that could be trained on is held out.
    """
    if recipe.evaluation.path is None or says(recipe, "data.heldout_fraction"):
        return recipe
    return changed(recipe, {"data.heldout_fraction": 0.0})


def _before(recipe: Recipe) -> list[tuple[bool, str]]:
    """No evaluation before training."""
    asked, key = recipe.evaluation, "evaluation.before=false"
    nothing = not asked.samples and not asked.benchmarks
    return [
        (
            not asked.before and nothing,
            f"{key} with evaluation.samples=0: nothing is evaluated; leave one of them out",
        ),
        (
            not asked.before and recipe.collapse.end,
            f"{key} with collapse.end=true: a collapse shows against the policy at the start; "
            "leave one of them out",
        ),
    ]


def _rows(recipe: Recipe) -> list[tuple[bool, str]]:
    """Rows of their own to evaluate on, beside all others."""
    path, data = recipe.evaluation.path, recipe.data
    if path is None:
        return []
    key = f"evaluation.path={path}"
    return [
        (
            not recipe.evaluation.samples,
            f"{key} with evaluation.samples=0: nothing is evaluated; leave one of them out",
        ),
        (
            data.heldout_fraction > 0,
            f"{key} and data.heldout_fraction={data.heldout_fraction:g}: rows of their own are "
            "evaluated on, and none of the others is held out; leave one of them out",
        ),
        (
            path in (data.path, *(source.path for source in data.sources)),
            f"{key}: these rows are trained on, so a policy may know them by heart; give rows of "
            "another file, or leave it out and hold out a data.heldout_fraction of the rows",
        ),
    ]


def _benchmarks(recipe: Recipe) -> list[tuple[bool, str]]:
    """Benchmarks, and what is said of them."""
    asked = recipe.evaluation
    names = asked.benchmarks
    return [
        (
            len(set(names)) < len(names),
            f"evaluation.benchmarks={','.join(names)}: one of them is named twice",
        ),
        (
            asked.benchmark_items is not None and not names,
            f"evaluation.benchmark_items={asked.benchmark_items}: there is no benchmark; give "
            "evaluation.benchmarks, or leave it out",
        ),
        (
            bool(asked.bfcl_categories) and "bfcl" not in names,
            "evaluation.bfcl_categories without bfcl among evaluation.benchmarks: nothing is asked "
            "of it; add bfcl, or leave it out",
        ),
        (
            asked.apibank is not None and "apibank" not in names,
            f"evaluation.apibank={asked.apibank} without apibank among evaluation.benchmarks: "
            "nothing is asked of it; add apibank, or leave it out",
        ),
        (
            asked.apibank is None and "apibank" in names,
            "evaluation.benchmarks=apibank needs evaluation.apibank, the folder with its three "
            "processed files (docs/evaluate.md)",
        ),
        (
            "world" in names and recipe.dialect not in ("rlla", "auto"),
            f"evaluation.benchmarks=world with dialect={recipe.dialect}: the world's prompts ask "
            "for the dialect rlla; take bfcl or apibank",
        ),
    ]


def _on_the_way(recipe: Recipe) -> list[tuple[bool, str]]:
    """What is asked of evaluations on the way."""
    asked, steps = recipe.evaluation, recipe.steps_per_generation
    told = {
        "save_best=true": asked.save_best,
        f"patience={asked.patience}": asked.patience is not None,
        f"metric={asked.metric}": asked.metric is not None,
    }
    first = next((name for name, said in told.items() if said), None)
    key, judged = f"evaluation.{first}", asked.save_best or asked.patience is not None
    return [
        (
            first is not None and recipe.method != "rl",
            f"{key} with method={recipe.method}: supervised learning is evaluated before and "
            "after alone; leave it out",
        ),
        (
            first is not None and not asked.every,
            f"{key} is about the evaluations on the way; say after how many steps each is: "
            f"evaluation.every={recipe.save_steps}",
        ),
        (
            first is not None and not asked.samples,
            f"{key} with evaluation.samples=0: nothing is evaluated; give evaluation.samples",
        ),
        (
            judged and asked.every % steps > 0,
            f"{key}: evaluation.every={asked.every} falls between optimiser steps on the same "
            f"rollouts, where no checkpoint can be gone on from; use "
            f"{-(-asked.every // steps) * steps}",
        ),
    ]


def _collapse(recipe: Recipe) -> list[tuple[bool, str]]:
    """An end of training at a collapse."""
    if not recipe.collapse.end:
        return []
    key, asked = "collapse.end=true", recipe.evaluation
    steps = recipe.steps_per_generation
    return [
        (
            recipe.method != "rl",
            f"{key} with method={recipe.method}: supervised learning is evaluated before and after "
            "alone; leave it out",
        ),
        (
            recipe.engine.name == "verl",
            f"{key} with engine=verl: verl trains to its last step; leave it out",
        ),
        (
            recipe.engine.sharding != "ddp",
            f"{key} with engine.sharding={recipe.engine.sharding}: a policy in parts is evaluated "
            "before and after alone; leave it out",
        ),
        (
            recipe.environment.source is not None,
            f"{key} with environment.source={recipe.environment.source}: the format of an "
            "episode's turns is not measured; leave it out, or use evaluation.patience",
        ),
        (
            not asked.samples,
            f"{key} with evaluation.samples=0: nothing is evaluated; give evaluation.samples",
        ),
        (
            not asked.every,
            f"{key}: a collapse is looked for at the evaluations on the way; say after how many "
            f"steps each is: evaluation.every={steps}",
        ),
        (
            bool(asked.every % steps),
            f"{key}: evaluation.every={asked.every} falls between optimiser steps on the same "
            f"rollouts, where no checkpoint can be gone on from; use "
            f"{-(-asked.every // steps) * steps}",
        ),
    ]

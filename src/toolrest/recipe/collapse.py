"""The section of a recipe on collapse, and what must fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from toolrest.recipe.sections import Section

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe


class Collapse(Section):
    """What counts as a collapse of the policy: any of three signs, looked for at each evaluation on
    the way and at the one at the end."""

    exact_match: float = Field(default=0.15, gt=0, le=1)
    """Sampled held-out exact match has fallen by so much, as a share, from the best one of the run
    so far, that before training included."""
    format: float = Field(default=0.9, ge=0, le=1)
    """A smaller share of the sampled held-out responses has the right format. 0: never a sign."""
    reasoning_entropy: float = Field(default=2.0, gt=1, allow_inf_nan=True)
    """The mean entropy of reasoning tokens, over as many steps before the evaluation as a
    generation has, is more than so many times that of the first step that has such tokens. .inf:
    never a sign."""
    end: bool = False
    """Whether training ends with a checkpoint at the evaluation that shows a collapse, and the run
    is done. `toolrest compare --stability` sets it."""


def collapse_checks(recipe: Recipe) -> list[tuple[bool, str]]:
    """What is wrong with a recipe that ends at a collapse, and the line that says so."""
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

"""What must fit together in a recipe whose groups branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe


def branching_checks(recipe: Recipe) -> list[tuple[bool, str]]:
    """What is wrong with a recipe's branches, and the line that says so."""
    rollout, credit = recipe.rollout, recipe.advantage.credit
    branches, group = rollout.branches, rollout.group_size
    if branches == 1:
        return [
            (
                credit == "forks",
                "advantage.credit=forks needs groups that branch: give rollout.branches=2, or use "
                "advantage.credit=response",
            )
        ]
    key = f"rollout.branches={branches}"
    return [
        (
            credit != "forks",
            f"{key} with advantage.credit={credit}: siblings share their start, so their "
            "group's mean is not one of independent responses; use advantage.credit=forks",
        ),
        (
            group % branches > 0 or group < 2 * branches,
            f"{key} with rollout.group_size={group}: a group is two families or more of "
            f"{branches}; use rollout.group_size={max(2, -(-group // branches)) * branches}",
        ),
        (
            recipe.engine.name == "verl",
            f"{key} with engine=verl: its server samples each response by itself; use engine=trl",
        ),
        (
            recipe.environment.source is not None,
            f"{key} with environment.source={recipe.environment.source}: responses branch within "
            "one turn; leave one of them out",
        ),
        (
            rollout.sampler in ("generate", "vllm"),
            f"{key} with rollout.sampler={rollout.sampler}: shared_prefix alone goes on from a "
            "part of a response; leave rollout.sampler out",
        ),
        (
            recipe.engine.sharding != "ddp",
            f"{key} with engine.sharding={recipe.engine.sharding}: a policy in parts is not "
            "sampled by shared_prefix; use engine.sharding=ddp",
        ),
        (
            recipe.advantage.discount != 1,
            f"{key} with advantage.discount={recipe.advantage.discount:g}: a fork has no later "
            "decision that could count less; leave advantage.discount out",
        ),
        (
            "signal" in recipe.weighting.scheme.split("*"),
            f"{key} with weighting.scheme={recipe.weighting.scheme}: the regions' signal is "
            "measured of independent responses; use another scheme",
        ),
        (
            recipe.method != "rl",
            f"{key} with method={recipe.method}: supervised learning samples nothing; leave it out",
        ),
    ]

"""What a recipe cannot have where its processes share the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolrest.errors import InputError

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe

_BY_GPUS = ("fsdp", "zero2", "zero3")
PARTED = ("fsdp", "zero3")
"""Ways of sharing in which a process holds a part of every parameter."""


def is_parted(recipe: Recipe) -> bool:
    """Whether no process of a recipe's training holds the whole policy."""
    return recipe.engine.name == "trl" and recipe.engine.sharding in PARTED


def check_device(recipe: Recipe, *, gpu: bool) -> None:
    """Refuse to share the policy by accelerate on a CPU, where it gives each process a whole one.

    Raises:
        InputError: naming key, reason and mend.
    """
    sharding = recipe.engine.sharding
    if not gpu and sharding in _BY_GPUS:
        raise InputError(
            f"engine.sharding={sharding} needs GPUs: on a CPU accelerate leaves each process a "
            "whole policy, as engine.sharding=ddp does; use that"
        )


def check_sharding(recipe: Recipe) -> None:
    """Refuse what the recipe's way of sharing the policy does not compute, or not safely.

    Raises:
        InputError: naming key, reason and mend.
    """
    said = f"engine.sharding={recipe.engine.sharding}"
    if recipe.engine.sharding in ("zero2", "zero3") and recipe.guards.non_finite == "skip":
        raise InputError(
            f"guards.non_finite=skip with {said}: DeepSpeed owns the gradients, and no step of it "
            "is left out safely; use guards.non_finite=stop, or engine.sharding=fsdp"
        )
    if not is_parted(recipe):
        return
    why = "its processes forward in step, each as often as the others"
    if recipe.rollout.sampler == "shared_prefix":
        raise InputError(
            f"rollout.sampler=shared_prefix with {said}: {why}, and that sampler stops where its "
            "own responses end; use rollout.sampler=generate"
        )
    if recipe.optimizer.micro_tokens is not None:
        raise InputError(
            f"optimizer.micro_tokens={recipe.optimizer.micro_tokens} with {said}: {why}, and parts "
            "by tokens differ in number; use optimizer.micro_batch"
        )

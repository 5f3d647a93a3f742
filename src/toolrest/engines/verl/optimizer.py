"""A recipe's optimiser as verl's settings."""

from __future__ import annotations

from typing import Any

from toolrest.engines.verl.counts import generations
from toolrest.engines.verl.names import ACTOR
from toolrest.recipe import Recipe

_EIGHT_BITS = {"adamw_8bit": "AdamW8bit", "paged_adamw_8bit": "PagedAdamW8bit"}


def optimizer_settings(recipe: Recipe) -> dict[str, Any]:
    """verl moves the learning rate once a generation, and once an update where it syncs apart."""
    optimizer, optim = recipe.optimizer, f"{ACTOR}.optim"
    made: dict[str, Any] = {
        f"{optim}.lr": optimizer.learning_rate,
        f"{optim}.lr_scheduler_type": optimizer.schedule,
        f"{optim}.weight_decay": optimizer.weight_decay,
        f"{optim}.clip_grad": optimizer.max_grad_norm,
    }
    if optimizer.warmup_steps:
        warm = generations(recipe, "optimizer.warmup_steps", optimizer.warmup_steps)
        moves = recipe.updates_per_generation if recipe.engine.mode == "separate_async" else 1
        made[f"{optim}.lr_warmup_steps"] = warm * moves
    if optimizer.name != "adamw":
        made[f"{optim}.optimizer_impl"] = "bitsandbytes.optim"
        made[f"{optim}.optimizer"] = _EIGHT_BITS[optimizer.name]
    return made

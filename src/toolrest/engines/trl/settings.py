"""Settings that both of TRL's trainers take from a recipe."""

from __future__ import annotations

from typing import Any, cast

import torch

from toolrest.policy.adapters import require_peft
from toolrest.recipe import Recipe


def uses_bfloat16(recipe: Recipe) -> bool:
    """Whether forwards and backwards are computed in bfloat16; `auto`: on a GPU that computes in it
    itself, where others only emulate it.
    """
    if recipe.engine.precision != "auto":
        return recipe.engine.precision == "bfloat16"
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def lora_config(recipe: Recipe) -> Any:
    """peft's configuration of the recipe's adapters, or None where it has none.

    Raises:
        InputError: peft is not installed.
    """
    if recipe.lora.rank == 0:
        return None
    require_peft()
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=cast(Any, recipe.lora.alpha),
        lora_dropout=recipe.lora.dropout,
        target_modules=recipe.lora.names or "all-linear",
        task_type="CAUSAL_LM",
    )

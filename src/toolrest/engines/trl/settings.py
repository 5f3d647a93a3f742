"""Settings that both of TRL's trainers take from a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from toolrest.errors import InputError
from toolrest.policy.adapters import require_peft
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import TrainingArguments


def uses_bfloat16(recipe: Recipe) -> bool:
    """Whether forwards and backwards are computed in bfloat16; `auto`: on a GPU that computes in it
    itself, where others only emulate it.
    """
    if recipe.engine.precision != "auto":
        return recipe.engine.precision == "bfloat16"
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def check_precision(recipe: Recipe, args: TrainingArguments) -> None:
    """Refuse float32 where the launcher's configuration computes in 16 bits all the same.

    Raises:
        InputError: naming both and the mend.
    """
    if recipe.engine.precision != "float32":
        return
    plugin = args.deepspeed_plugin
    settings = {} if plugin is None else plugin.deepspeed_config
    found = [kind for kind in ("bf16", "fp16") if settings.get(kind, {}).get("enabled") is True]
    if args.mixed_precision != "no":
        found.append(args.mixed_precision)
    if found:
        raise InputError(
            f"engine.precision=float32, but the configuration of accelerate says {found[0]}; take "
            "mixed_precision out of it, or say engine.precision=bfloat16"
        )


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

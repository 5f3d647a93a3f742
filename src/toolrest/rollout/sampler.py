"""Chooses the sampler of a policy's responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from toolrest.errors import InputError
from toolrest.recipe.extras import check_extras
from toolrest.rollout.shared_prefix import can_share_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from toolrest.recipe import Recipe

Sampler = Literal["auto", "shared_prefix", "generate", "vllm"]
"""shared_prefix: `toolrest.rollout.shared_prefix`; generate: transformers'; vllm: vLLM in training,
transformers' where vLLM does not hold the policy. auto: shared_prefix on a CPU, where the policy's
attention allows it."""


def check_vllm(recipe: Recipe) -> None:
    """Check that a recipe with the vLLM sampler can run here.

    Raises:
        InputError: it cannot.
    """
    rollout = recipe.rollout
    if rollout.sampler != "vllm" or recipe.method != "rl":
        return
    check_extras(recipe)
    if rollout.vllm.mode == "colocate" and not torch.cuda.is_available():
        raise InputError(
            "rollout.sampler=vllm needs a GPU: on a CPU vLLM packs its weights as it loads them "
            "and takes no new ones after a step; leave rollout.sampler out"
        )


def shares_prefix(model: PreTrainedModel, sampler: Sampler) -> bool:
    """Whether `sample_groups` samples the policy's responses.

    Raises:
        InputError: it was asked for and the policy's attention does not allow it.
    """
    fits = can_share_prefix(model)
    if sampler == "shared_prefix" and not fits:
        raise InputError(
            f"rollout.sampler=shared_prefix: the attention of {type(model).__name__} is not one "
            "that it computes; use rollout.sampler=generate"
        )
    return sampler == "shared_prefix" or (sampler == "auto" and fits and model.device.type == "cpu")

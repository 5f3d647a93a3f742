"""Chooses the sampler of a policy's responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from toolrest.errors import InputError
from toolrest.recipe.extras import check_extras
from toolrest.rollout.asking import SamplerOf, TurnSampler
from toolrest.rollout.attention_kind import can_share_prefix
from toolrest.rollout.draw import Draw
from toolrest.rollout.generate import generate_batch
from toolrest.rollout.repeated import RepeatedTurns
from toolrest.rollout.shared_prefix import SharedPrefixTurns

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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


def recipe_draw(recipe: Recipe) -> Draw:
    """How a recipe has tokens drawn."""
    rollout = recipe.rollout
    return Draw(rollout.temperature, rollout.top_k, rollout.top_p, rollout.min_p)


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


def turn_samplers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sampler: Sampler,
    end_ids: Sequence[int],
    draw: Draw | None,
) -> SamplerOf:
    """What makes the samplers of a policy's turns: with shared prefixes, or transformers' own.

    Args:
        end_ids: a turn ends with one of them.
        draw: None for greedy decoding.

    Raises:
        InputError: shared prefixes were asked for and do not fit the policy.
    """
    shared = shares_prefix(model, sampler)

    def sampler_of(prompts: list[list[int]], group_size: int) -> TurnSampler:
        if shared:
            return SharedPrefixTurns(
                model, prompts, group_size=group_size, end_ids=end_ids, draw=draw
            )
        return RepeatedTurns(
            [ids for ids in prompts for _ in range(group_size)],
            lambda asked, most: generate_batch(model, tokenizer, asked, most, draw, end_ids),
        )

    return sampler_of

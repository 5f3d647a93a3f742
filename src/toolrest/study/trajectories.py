"""Groups of responses of a fixed policy, with their regions and advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from toolrest.advantages import group_normalise
from toolrest.data.prompts import render_prompt, single_id
from toolrest.data.sample import Sample
from toolrest.recipe import Recipe
from toolrest.regions import label_tokens
from toolrest.rewards import ToolReward
from toolrest.rollout.shared_prefix import sample_groups
from toolrest.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Trajectories:
    """Sampled responses and their advantages."""

    prompts: list[list[int]]
    """Prompt ids, one a group."""
    responses: list[list[int]]
    """N = P * G responses' ids, a group's next to each other."""
    advantages: torch.Tensor
    """[N]."""
    regions: list[torch.Tensor]
    """Regions of each response's tokens."""
    group_size: int
    """G."""


def sample_trajectories(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    seed: int,
) -> Trajectories:
    """A group of responses to every sample, scored at the start of the reward's schedule."""
    group = recipe.rollout.group_size
    prompts = [render_prompt(sample, tokenizer) for sample in samples]
    uniforms = torch.rand(
        len(prompts) * group,
        recipe.rollout.max_response_tokens,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )
    responses = sample_groups(
        model,
        prompts,
        group_size=group,
        max_tokens=recipe.rollout.max_response_tokens,
        end_ids=[single_id(tokenizer.eos_token_id)],
        temperature=recipe.rollout.temperature,
        uniforms=uniforms,
    )
    reward = ToolReward(recipe.dialect, recipe.reward.schedule)
    vocabulary = Vocabulary.from_tokenizer(
        tokenizer, written_special_tokens=reward.dialect.special_tokens
    )
    reward.bind(vocabulary)
    truths = [sample.ground_truth for sample in samples for _ in range(group)]
    totals = reward([""] * len(responses), truths, responses)
    regions = []
    for ids in responses:
        row = torch.tensor([ids])
        regions.append(label_tokens(row, torch.ones_like(row), vocabulary, reward.dialect)[0])
    advantages = group_normalise(torch.tensor(totals, dtype=torch.float64), group)
    return Trajectories(prompts, responses, advantages, regions, group)

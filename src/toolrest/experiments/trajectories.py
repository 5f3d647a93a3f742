"""Groups of responses of a fixed policy, with their regions and advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from toolrest.core.credit import group_normalise
from toolrest.core.regions import label_tokens
from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.engines.common.reward import totals
from toolrest.policy.speech import read_speech
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import recipe_draw
from toolrest.rollout.shared_prefix import sample_groups

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
    reward = recipe_reward(recipe)
    speech = read_speech(tokenizer, reward.dialect, model.generation_config)
    responses = sample_groups(
        model,
        prompts,
        group_size=group,
        max_tokens=recipe.rollout.max_response_tokens,
        end_ids=list(speech.stop_ids),
        draw=recipe_draw(recipe),
        uniforms=uniforms,
    )
    openings = [speech.opening(prompt) for prompt in prompts for _ in range(group)]
    asked = [
        Asked(sample.ground_truth, opening, sample.declared)
        for sample, opening in zip(
            (sample for sample in samples for _ in range(group)), openings, strict=True
        )
    ]
    texts = [speech.vocabulary.text(ids) for ids in responses]
    rewards = totals(reward.score_batch(texts, asked))
    regions = []
    for ids, opening in zip(responses, openings, strict=True):
        row = torch.tensor([ids])
        mask = torch.ones_like(row)
        labels = label_tokens(row, mask, speech.vocabulary, speech.dialect, openings=[opening])
        regions.append(labels[0])
    advantages = group_normalise(torch.tensor(rewards, dtype=torch.float64), group)
    return Trajectories(prompts, responses, advantages, regions, group)

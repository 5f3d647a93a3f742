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
from toolrest.policy.speech import Speech, read_speech
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import recipe_draw
from toolrest.rollout.shared_prefix import sample_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


ADVANTAGES = {
    "advantage.credit": "of one advantage a response",
    "advantage.scale": "of advantages by their group's deviation",
    "optimizer.loss": "of a mean over each response",
}
"""By key, what `Trajectories` have whatever a recipe says."""


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


@dataclass(frozen=True)
class Responses:
    """Sampled responses and what each is scored by, N = P * G of them, a group's next to each
    other.
    """

    prompts: list[list[int]]
    """Prompt ids, one a group."""
    ids: list[list[int]]
    """Each response's token ids."""
    texts: list[str]
    """Each response's text."""
    asked: list[Asked]
    """What each is scored by."""
    speech: Speech
    """How the policy's tokens are read."""
    group_size: int
    """G."""

    @property
    def openings(self) -> list[str]:
        """What each prompt has written of the reply already."""
        return [each.opening for each in self.asked]


def sample_responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    seed: int,
) -> Responses:
    """A group of responses to every sample."""
    group = recipe.rollout.group_size
    prompts = [render_prompt(sample, tokenizer) for sample in samples]
    uniforms = torch.rand(
        len(prompts) * group,
        recipe.rollout.max_response_tokens,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )
    speech = read_speech(tokenizer, recipe_reward(recipe).dialect, model.generation_config)
    responses = sample_groups(
        model,
        prompts,
        group_size=group,
        max_tokens=recipe.rollout.max_response_tokens,
        end_ids=list(speech.stop_ids),
        draw=recipe_draw(recipe),
        uniforms=uniforms,
    )
    asked = [
        Asked(sample.ground_truth, speech.opening(prompt), sample.declared)
        for sample, prompt in zip(samples, prompts, strict=True)
        for _ in range(group)
    ]
    texts = [speech.vocabulary.text(ids) for ids in responses]
    return Responses(prompts, responses, texts, asked, speech, group)


def sample_trajectories(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    seed: int,
) -> Trajectories:
    """A group of responses to every sample, scored at the start of the reward's schedule."""
    found = sample_responses(model, tokenizer, samples, recipe, seed)
    rewards = totals(recipe_reward(recipe).score_batch(found.texts, found.asked))
    regions = []
    for ids, opening in zip(found.ids, found.openings, strict=True):
        row = torch.tensor([ids])
        mask = torch.ones_like(row)
        vocabulary, dialect = found.speech.vocabulary, found.speech.dialect
        regions.append(label_tokens(row, mask, vocabulary, dialect, openings=[opening])[0])
    group = found.group_size
    advantages = group_normalise(torch.tensor(rewards, dtype=torch.float64), group)
    return Trajectories(found.prompts, found.ids, advantages, regions, group)

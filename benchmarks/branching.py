"""Branching against independent responses: the gradient's signal over its noise, by sampled token.

    python benchmarks/branching.py [RECIPE] [KEY=VALUE ...] [--batches 24 --prompts 8]

Batches of the same prompts both ways, groups of the recipe's size, at the recipe's policy. With g_b
the gradient of batch b, signal is the mean of <g_b, g_c> over pairs of different batches and noise
the mean of |g_b|^2 less that. Intervals: 2,000 bootstrap samples of batches.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolrest.core.credit import group_normalise
from toolrest.core.forks import Families, decision_starts, fork_advantages
from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.engines.common.reward import ToolReward, totals
from toolrest.errors import InputError
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import load_recipe
from toolrest.rollout.branching import Branching, sample_branched
from toolrest.rollout.sampler import recipe_draw
from toolrest.rollout.shared_prefix import sample
from toolrest.world.sets import world_samples
from toolrest.world.tasks import Split


@dataclass
class Side:
    """One way to sample and credit."""

    gradients: list[torch.Tensor] = field(default_factory=list)
    tokens: int = 0
    rewards: list[float] = field(default_factory=list)

    def add(
        self,
        model: Any,
        prompts: list[list[int]],
        ids: list[list[int]],
        rewards: torch.Tensor,
        advantages: torch.Tensor,
        temperature: float,
    ) -> None:
        """Add a batch's gradient."""
        self.gradients.append(gradient(model, prompts, ids, advantages, temperature))
        self.rewards += rewards.tolist()


def gradient(
    model: Any,
    prompts: list[list[int]],
    responses: list[list[int]],
    advantages: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Of the mean over responses of the mean over tokens of A ln p, with p of the logits over the
    temperature, flat.
    """
    group = len(responses) // len(prompts)
    rows = [prompts[row // group] + ids for row, ids in enumerate(responses)]
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, each in enumerate(rows):
        ids[row, : len(each)], mask[row, : len(each)] = torch.tensor(each), True
    logits = model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
    logps = (logits / temperature).log_softmax(-1)
    told = logps.gather(2, ids[:, 1:, None])[..., 0]
    loss = torch.zeros(())
    for row, response in enumerate(responses):
        first = len(prompts[row // group]) - 1
        own = told[row, first : first + len(response)]
        loss = loss + (own * advantages[row, : len(response)]).mean() / len(rows)
    parts = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    return torch.cat([part.reshape(-1) for part in parts])


def snr(products: np.ndarray, chosen: np.ndarray) -> float:
    """Signal over noise of the chosen batches; pairs of the same batch are left out."""
    picked = products[np.ix_(chosen, chosen)]
    apart = chosen[:, None] != chosen[None, :]
    signal = picked[apart].mean()
    return float(signal / (np.diag(picked).mean() - signal))


def compare(sides: dict[str, Side], batches: int) -> None:
    every, generator = np.arange(batches), np.random.default_rng(0)
    samples = generator.integers(0, batches, (2000, batches))
    values = {}
    for name, side in sides.items():
        stacked = torch.stack(side.gradients)
        products = (stacked @ stacked.T).double().numpy()
        per = side.tokens / batches
        values[name] = np.array([snr(products, chosen) / per for chosen in (every, *samples)])
        print(
            f"{name:12} reward {np.mean(side.rewards):.3f}  tokens a batch {per:.0f}  signal/noise "
            f"{values[name][0] * per:.3f}"
        )
    ratios = values["branch"] / values["independent"]
    low, high = np.quantile(ratios[1:], (0.025, 0.975))
    print(
        f"signal over noise by sampled token, branch / independent: {ratios[0]:.2f} "
        f"({low:.2f} to {high:.2f})"
    )


@dataclass(frozen=True)
class Setup:
    """What every batch has in common."""

    model: Any
    tokenizer: Any
    reward: ToolReward
    speech: Speech
    how: Branching

    def add(self, part: list[Sample], sides: dict[str, Side], seed: int) -> None:
        """Sample one batch both ways."""
        how, speech = self.how, self.speech
        prompts = [render_prompt(each, self.tokenizer) for each in part]
        openings = [speech.opening(prompt) for prompt in prompts]
        asked = [
            Asked(each.ground_truth, opening, each.declared)
            for each, opening in zip(part, openings, strict=True)
            for _ in range(how.group_size)
        ]
        numbers = torch.Generator().manual_seed(seed)

        def drawn(count: int) -> torch.Tensor:
            return torch.rand(count, how.max_tokens, dtype=torch.float64, generator=numbers)

        def score(ids: list[list[int]]) -> torch.Tensor:
            texts = [speech.vocabulary.text(each) for each in ids]
            found = totals(self.reward.score_batch(texts, asked))
            return torch.tensor(found, dtype=torch.float64)

        def starts(prompt: int, ids: list[int]) -> list[int]:
            tokens = [speech.vocabulary.concatenate(np.array([each]))[0] for each in ids]
            return decision_starts(tokens, self.reward.dialect, openings[prompt])

        alone = sample(
            self.model,
            prompts,
            group_size=how.group_size,
            max_tokens=how.max_tokens,
            end_ids=how.end_ids,
            draw=how.draw,
            uniforms=drawn(len(asked)),
        ).ids
        families = len(prompts) * how.trunks
        siblings = drawn(families * (how.branches - 1))
        numbers_of = (drawn(families), drawn(families), siblings)
        made = sample_branched(self.model, prompts, how, starts, numbers_of)
        ids, forks = made.sampled.ids, torch.tensor(made.forks)
        width = max(map(len, alone))
        rewards = score(alone)
        plain = group_normalise(rewards, how.group_size)[:, None].expand(-1, width)
        warm = how.draw.temperature
        sides["independent"].add(self.model, prompts, alone, rewards, plain.float(), warm)
        sides["independent"].tokens += sum(map(len, alone))
        rewards, kinds = score(ids), Families(forks, how.group_size, how.branches)
        credited = fork_advantages(rewards, kinds, max(map(len, ids)))
        sides["branch"].add(self.model, prompts, ids, rewards, credited.float(), warm)
        sides["branch"].tokens += sum(
            len(each) - (made.forks[row] if row % how.branches else 0)
            for row, each in enumerate(ids)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="a recipe's file, and KEY=VALUE")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--prompts", type=int, default=8, help="of a batch")
    parser.add_argument("--branches", type=int, default=2, help="responses of a family")
    options = parser.parse_intermixed_args()
    files = [word for word in options.words if "=" not in word]
    given = [word for word in options.words if "=" in word]
    given += [f"rollout.branches={options.branches}", "advantage.credit=forks"]
    try:
        recipe = load_recipe(Path(files[0]) if files else None, given)
    except InputError as error:
        parser.error(str(error))
    model, tokenizer = load_policy(recipe).eval(), load_tokenizer(recipe)
    reward = recipe_reward(recipe)
    speech = read_speech(tokenizer, reward.dialect, model.generation_config)
    group, most = recipe.rollout.group_size, recipe.rollout.max_response_tokens
    ends, draw = list(speech.stop_ids), recipe_draw(recipe)
    setup = Setup(
        model, tokenizer, reward, speech, Branching(group, options.branches, most, ends, draw)
    )
    count = options.batches * options.prompts
    rows = world_samples(Split.TRAIN, count, recipe.seed, recipe.data.world.knobs)
    sides = {"independent": Side(), "branch": Side()}
    for batch in range(options.batches):
        part = rows[batch * options.prompts : (batch + 1) * options.prompts]
        setup.add(part, sides, 1_000_003 * recipe.seed + batch)
    compare(sides, options.batches)


if __name__ == "__main__":
    main()

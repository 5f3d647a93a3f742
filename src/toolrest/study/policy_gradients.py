"""A policy's gradients on sampled trajectories, region by region, and what weights make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from toolrest.advantages import group_normalise
from toolrest.data.prompts import render_prompt, single_id
from toolrest.data.sample import Sample
from toolrest.recipe import Recipe
from toolrest.regions import Region, label_tokens
from toolrest.rewards import ToolReward
from toolrest.rollout.shared_prefix import sample_groups
from toolrest.study.variance import (
    Moments,
    bounds,
    last_layer_square,
    least_variance_weights,
    moments,
    score_moments,
)
from toolrest.vocabulary import Vocabulary
from toolrest.weights import RegionEntropy, Scheme

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REGIONS = len(Region)
STATISTICS = ("entropy", "bound", "collision", "sampled", "last_layer")


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
class Gradients:
    """What the backward passes gave."""

    gram: torch.Tensor
    """Inner products of a trajectory's region gradients sum_{t in r} s_t, [N, R, R]."""
    counts: torch.Tensor
    """Tokens of each region, [N, R]."""
    statistics: dict[str, torch.Tensor]
    """Sums over each region's tokens of STATISTICS, [R]."""
    group_sums: dict[str, torch.Tensor]
    """By name of a weighting: inner products of the groups' sums of g_i, [P, P]."""
    squares: dict[str, torch.Tensor]
    """By name: sums of ||g_i||^2 over each group, [P]."""
    weights: dict[str, torch.Tensor]
    """By name: each region's weight in each trajectory, [N, R]."""
    cosines: dict[str, float]
    """By name: of the mean gradient with the one of equal weights."""


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


def region_gradients(
    model: PreTrainedModel,
    prompt: Sequence[int],
    response: Sequence[int],
    regions: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """sum_{t in r} grad ln pi(a_t), [R, D], and each token's STATISTICS, [T]."""
    tokens = torch.tensor(response, device=model.device)
    ids = torch.cat((torch.tensor(prompt, device=model.device), tokens))[None]
    output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    window = slice(len(prompt) - 1, len(prompt) - 1 + len(response))
    logits = output.logits[0, window].float() / temperature
    hidden = output.hidden_states[-1][0, window] / temperature
    logps = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
    with torch.no_grad():
        found = score_moments(logits, tokens)
        found["last_layer"] = last_layer_square(logits, tokens, hidden)
    parameters = [p for p in model.parameters() if p.requires_grad]
    width = sum(p.numel() for p in parameters)
    rows = torch.zeros(REGIONS, width)
    present = [r for r in range(REGIONS) if bool((regions == r).any())]
    for region in present:
        gradients = torch.autograd.grad(
            logps[regions == region].sum(), parameters, retain_graph=region != present[-1]
        )
        rows[region] = torch.cat([g.reshape(-1) for g in gradients])
    return rows, found


def measure(
    model: PreTrainedModel,
    trajectories: Trajectories,
    schemes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    temperature: float,
    on_row: Callable[[int], object] = lambda done: None,
) -> Gradients:
    """One backward a trajectory and region; every weighting is a sum of them.

    Args:
        schemes: by name, a trajectory's regions, int64 [T], to its tokens' weights [T]; a region's
            tokens must weigh the same within a trajectory.
        on_row: called with the number of trajectories done.
    """
    count, group = len(trajectories.responses), trajectories.group_size
    groups = count // group
    gram = torch.zeros(count, REGIONS, REGIONS, dtype=torch.float64)
    counts = torch.zeros(count, REGIONS, dtype=torch.float64)
    sums = {name: torch.zeros(REGIONS, dtype=torch.float64) for name in STATISTICS}
    weights = {name: torch.zeros(count, REGIONS, dtype=torch.float64) for name in schemes}
    totals: dict[str, torch.Tensor] = {}
    for row, response in enumerate(trajectories.responses):
        regions = trajectories.regions[row]
        found, statistics = region_gradients(
            model, trajectories.prompts[row // group], response, regions, temperature
        )
        gram[row] = (found @ found.T).double()
        counts[row] = torch.bincount(regions, minlength=REGIONS).double()
        for name in STATISTICS:
            sums[name].index_add_(0, regions, statistics[name].double())
        factor = float(trajectories.advantages[row]) / len(response)
        for name, weigh in schemes.items():
            own = weigh(regions).double()
            weights[name][row] = _per_region(own, regions, counts[row])
            totals.setdefault(name, torch.zeros(groups, found.shape[1]))
            totals[name][row // group] += factor * (weights[name][row].float() @ found)
        on_row(row + 1)
    lengths = counts.sum(1)
    factors = trajectories.advantages / lengths
    squares = {
        name: (torch.einsum("nr,nrs,ns->n", w, gram, w) * factors.square())
        .view(groups, group)
        .sum(1)
        for name, w in weights.items()
    }
    means = {name: total.double().sum(0) for name, total in totals.items()}
    plain = means["uniform"]
    cosines = {
        name: float(mean @ plain / (mean.norm() * plain.norm()).clamp(min=1e-300))
        for name, mean in means.items()
    }
    inner = {name: (total @ total.T).double() for name, total in totals.items()}
    return Gradients(gram, counts, sums, inner, squares, weights, cosines)


def _per_region(weights: torch.Tensor, regions: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The weight of each region's tokens, which must be one."""
    total = torch.zeros(REGIONS, dtype=torch.float64).index_add_(0, regions, weights)
    mean = total / counts.clamp(min=1)
    if (weights - mean[regions]).abs().max() > 1e-5:
        raise ValueError("a region's tokens weigh differently within a trajectory")
    return mean


def scheme_weights(
    scheme: Scheme, entropy: RegionEntropy, progress: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A scheme as `measure` takes it."""

    def weigh(regions: torch.Tensor) -> torch.Tensor:
        row = regions[None]
        return scheme(row, torch.ones_like(row, dtype=torch.bool), entropy, progress)[0]

    return weigh


def fixed_weights(table: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Weights by region, [R], normalised within the trajectory."""

    def weigh(regions: torch.Tensor) -> torch.Tensor:
        raw = table[regions]
        return raw / raw.mean().clamp(min=1e-300)

    return weigh


def token_moments(gradients: Gradients) -> torch.Tensor:
    """E||s_t||^2 over all parameters by region, [R]: tokens' scores are uncorrelated, so the mean
    of ||sum_{t in r} s_t||^2 is the sum of theirs.
    """
    squares = torch.diagonal(gradients.gram, dim1=1, dim2=2).sum(0)
    return squares / gradients.counts.sum(0).clamp(min=1)


def region_means(gradients: Gradients) -> dict[str, torch.Tensor]:
    """The mean of each statistic in each region, [R]; NaN where it has no token."""
    counts = gradients.counts.sum(0)
    return {name: total / counts for name, total in gradients.statistics.items()}


def optimum(gradients: Gradients) -> torch.Tensor:
    """The weights of least variance by the second moments of all parameters, [R]."""
    return least_variance_weights(token_moments(gradients), gradients.counts.sum(0))


def summary(
    gradients: Gradients, trajectories: Trajectories, name: str
) -> tuple[Moments, float, float]:
    """A weighting's moments, and its bounds (1) and (2); see `toolrest.study.variance`."""
    weighted = gradients.weights[name].square() * gradients.counts * token_moments(gradients)
    independent, always = bounds(trajectories.advantages, gradients.counts.sum(1), weighted.sum(1))
    found = moments(gradients.squares[name], gradients.group_sums[name], trajectories.group_size)
    return found, independent, always


def region_moments(gradients: Gradients, trajectories: Trajectories) -> torch.Tensor:
    """Mean of ||(A / T) sum_{t in r} s_t||^2 over trajectories by region, equal weights, [R]."""
    factors = cast(torch.Tensor, trajectories.advantages / gradients.counts.sum(1))
    return (torch.diagonal(gradients.gram, dim1=1, dim2=2) * factors.square()[:, None]).mean(0)

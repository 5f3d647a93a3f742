"""The measurements of `toolrest gain` at one policy, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.regions import Region
from toolrest.data.sample import Sample
from toolrest.errors import InputError
from toolrest.experiments.gain import (
    Products,
    adam_products,
    differs,
    gains,
    interval,
    named,
    ratio,
    resamples,
    sgd_products,
)
from toolrest.experiments.gain_gradients import PromptGradients
from toolrest.experiments.gain_methods import (
    BASELINE,
    GainMethod,
    coefficients,
    target_credit,
)
from toolrest.experiments.gain_weights import (
    best_weights,
    halves_weights,
    region_moments,
    weighted_products,
)
from toolrest.experiments.trajectories import sample_responses
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STEPS = ("sgd", "adam")
"""Whose steps a gain is of."""
LEAST_PROMPTS = 8
"""Two in each part that estimates are taken over."""


@dataclass(frozen=True)
class GainPlan:
    """What is measured."""

    methods: Sequence[GainMethod]
    """`grpo` is one of them."""
    targets: Sequence[str]
    """`reward`, `exact`."""
    batch: int
    """Prompts of a step, B."""
    progress: float = 0.0
    """The policy's, in [0, 1]."""


@dataclass
class Gains:
    """The gains at one policy."""

    values: dict[str, Any]
    """For a JSON file."""
    samples: dict[tuple[str, str, str], torch.Tensor] = field(default_factory=dict)
    """By target, kind of step and method: the gain of each resample, [S]."""


def gain_at(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    plan: GainPlan,
    *,
    on_prompt: Callable[[], object] = lambda: None,
) -> Gains:
    """Measure what a step of each method gains at a policy.

    Args:
        model: gradients are of its parameters that require them.
        samples: a group of responses to each.
        on_prompt: called for each prompt in each of `passes`.

    Raises:
        InputError: fewer than LEAST_PROMPTS samples.
    """
    if len(samples) < LEAST_PROMPTS:
        raise InputError(f"a gain needs at least {LEAST_PROMPTS} prompts, got {len(samples)}")
    model.eval()
    responses = sample_responses(model, tokenizer, samples, recipe, recipe.seed)
    source = PromptGradients(model, responses, recipe.rollout.temperature, on_prompt)
    sampled = source.sampled()
    weighed = {
        method.name: coefficients(method, sampled, plan.progress, plan.batch)
        for method in plan.methods
    }
    present = torch.cat([regions[sampled.mask] for _, regions in weighed.values()]).unique()
    names = [Region(int(region)).name.lower() for region in present]
    place = torch.zeros(len(Region), dtype=torch.long)
    place[present] = torch.arange(len(present))

    aims, levels = {}, {}
    for target in plan.targets:
        wanted, levels[target] = target_credit(sampled, recipe, target)
        aims[target] = torch.empty(1, len(samples), source.size)
        source.fill(aims[target], torch.where(sampled.mask, wanted[:, None], 0.0))

    counts = resamples(len(samples), recipe.seed)
    found = Gains({})
    rows = {target: [] for target in plan.targets}
    best = {target: {} for target in plan.targets}
    store = torch.empty(len(names), len(samples), source.size)
    by_region: dict[tuple[str, str, str], torch.Tensor] = {}
    for method in plan.methods:
        wanted, regions = weighed[method.name]
        source.fill(store, wanted, place[regions])
        for target, aim in aims.items():
            for step, products in _steps(store, aim[0], plan.batch).items():
                each = gains(products, plan.batch, counts)
                by_region[target, step, method.name] = each
                found.samples[target, step, method.name] = each.sum(1)
            if method.name == BASELINE:
                best[target] = {
                    step: _best(store, aim[0], plan.batch, counts, names, step) for step in STEPS
                }
    for target in plan.targets:
        for method in plan.methods:
            row: dict[str, Any] = {"method": method.name}
            for step in STEPS:
                key = (target, step, method.name)
                whole, base = found.samples[key], found.samples[target, step, BASELINE]
                row[step] = _row(whole, base, method.name == BASELINE)
                row[step]["regions"] = _plain(named(by_region[key], names))
            rows[target].append(row)
    found.values = {
        "prompts": len(samples),
        "trajectories": len(responses.ids),
        "batch": plan.batch,
        "parameters": source.size,
        "progress": plan.progress,
        "regions": {
            name: int((weighed[BASELINE][1][sampled.mask] == region).sum())
            for name, region in zip(names, present.tolist(), strict=True)
        },
        "targets": {
            target: {"mean": levels[target], "methods": rows[target], "best": best[target]}
            for target in plan.targets
        },
    }
    return found


def passes(plan: GainPlan) -> int:
    """How often each prompt is passed over."""
    return 1 + len(plan.targets) + len(plan.methods)


def _steps(store: torch.Tensor, aim: torch.Tensor, batch: int) -> dict[str, Products]:
    return {"sgd": sgd_products(store, aim), "adam": adam_products(store, aim, batch)}


def _row(whole: torch.Tensor, base: torch.Tensor, is_base: bool) -> dict[str, Any]:
    found = interval(whole)
    over = None if is_base else ratio(whole, base)
    return {
        "gain": asdict(found),
        "told_from_0": differs(found),
        "over_grpo": None if over is None else asdict(over),
    }


def _best(
    store: torch.Tensor,
    aim: torch.Tensor,
    batch: int,
    counts: torch.Tensor,
    names: Sequence[str],
    step: str,
) -> dict[str, Any]:
    """The best region weights, and what each half's gain on the other half."""
    adam = step == "adam"
    weights = best_weights(region_moments(store, aim, batch, adam=adam))
    halves = halves_weights(store, aim, batch, adam=adam)
    equal = [torch.ones_like(each) for each in halves]
    mine, theirs = (
        gains(weighted_products(store, aim, batch, each, adam=adam), batch, counts)[:, 0]
        for each in (halves, equal)
    )
    over = ratio(mine, theirs)
    return {
        "weights": dict(zip(names, weights.tolist(), strict=True)),
        "halves": [dict(zip(names, each.tolist(), strict=True)) for each in halves],
        "gain": asdict(interval(mine)),
        "equal": asdict(interval(theirs)),
        "headroom": None if over is None else asdict(over),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: asdict(each) for name, each in values.items()}

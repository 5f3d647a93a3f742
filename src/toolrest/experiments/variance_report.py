"""The measurements of `toolrest variance` at one policy, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, Statistic, get_scheme
from toolrest.data.sample import Sample
from toolrest.errors import InputError
from toolrest.experiments.policy_gradients import (
    FEW,
    STATISTICS,
    fixed_weights,
    measure,
    optimum,
    region_means,
    region_moments,
    scheme_weights,
    summary,
    token_moments,
)
from toolrest.experiments.trajectories import sample_trajectories
from toolrest.experiments.variance import least_variance_weights
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Weigh = Callable[[torch.Tensor], torch.Tensor]


def variance_at(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    schemes: Sequence[str],
    on_row: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """Measure the gradient's variance at a policy.

    Args:
        samples: one group of trajectories each.
        schemes: names such as `rest`, `rest@0.5` for its curriculum half way, and `optimum`, whose
            weights are the inverse of the second moments that half of the samples showed.
        on_row: called with the number of backward passes done, of one a trajectory.

    Returns:
        `trajectories` and `prompts` of the tables; `regions`: a row a region; `weightings`: a row a
        scheme; for a JSON file.

    Raises:
        InputError: an unknown scheme, one that weighs tokens one by one, or fewer than 4 samples.
    """
    if len(samples) < 4:
        raise InputError("the variance needs at least 4 prompts, two for each half")
    for name in schemes:
        _check(name)
    model.eval()
    temperature = recipe.rollout.temperature
    halves = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    uniform: dict[str, Weigh] = {"uniform": lambda regions: torch.ones(len(regions))}
    first = sample_trajectories(model, tokenizer, halves[0], recipe, seed=recipe.seed)
    known = measure(model, first, uniform, temperature, on_row, single_tokens=0)
    entropies = {
        statistic: RegionEntropy(
            known.statistics[key],
            known.counts.sum(0),
        )
        for statistic, key in ((Statistic.ENTROPY, "entropy"), (Statistic.COLLISION, "collision"))
    }
    weighings = dict(uniform)
    for name in schemes:
        if name == "optimum":
            weighings[name] = fixed_weights(optimum(known))
        elif name != "uniform":
            scheme_name, _, progress = name.partition("@")
            bare, options = _with_rule(scheme_name)
            scheme = get_scheme(bare, **options)
            entropy = entropies[scheme.statistic or Statistic.ENTROPY]
            weighings[name] = scheme_weights(scheme, entropy, float(progress or 0.0))
    second = sample_trajectories(model, tokenizer, halves[1], recipe, seed=recipe.seed + 1)
    done = len(first.responses)
    found = measure(model, second, weighings, temperature, lambda row: on_row(done + row))
    means, counts = region_means(found), found.counts.sum(0)
    parameters = token_moments(found)
    common = torch.where(counts >= FEW, counts, 0.0)
    proxies = {name: least_variance_weights(means[name], common) for name in STATISTICS[1:]}
    proxies["inverse_entropy"] = least_variance_weights(means["entropy"], common)
    proxies["parameters"] = least_variance_weights(parameters, common)
    signal = region_moments(found, second)
    regions = [
        {
            "region": Region(r).name.lower(),
            "tokens": int(counts[r]),
            **{name: float(means[name][r]) for name in STATISTICS},
            "parameters": float(parameters[r]),
            "gradient_square": float(signal[r]),
            "weights": {name: float(table[r]) for name, table in proxies.items()},
        }
        for r in range(len(Region))
        if counts[r] > 0
    ]
    rows = []
    for name in weighings:
        moments, independent, always = summary(found, second, name)
        rows.append(
            {
                "scheme": name,
                **asdict(moments),
                "bound_independent": independent,
                "bound_greatest": always,
                "cosine": found.cosines[name],
                "weights": {
                    Region(r).name.lower(): float(
                        (found.weights[name][:, r] * found.counts[:, r]).sum() / counts[r]
                    )
                    for r in range(len(Region))
                    if counts[r] > 0
                },
            }
        )
    return {
        "trajectories": len(second.responses),
        "prompts": len(halves[1]),
        "regions": regions,
        "weightings": rows,
    }


def _with_rule(name: str) -> tuple[str, dict[str, Any]]:
    """`rest:collision` is the scheme rest with that entropy rule."""
    scheme, _, rule = name.partition(":")
    return scheme, {"rule": rule} if rule else {}


def _check(name: str) -> None:
    if name == "optimum":
        return
    scheme_name, _, progress = name.partition("@")
    bare, options = _with_rule(scheme_name)
    scheme = get_scheme(bare, **options)
    if scheme.reads_tokens:
        raise InputError(
            f"scheme {name}: it weighs tokens one by one; toolrest variance takes schemes that "
            "weigh a region's tokens alike: uniform, rest, optimum"
        )
    if scheme.scaffolding is not Region.FORMAT:
        raise InputError(
            f"scheme {name}: it puts a call's JSON scaffolding into the region "
            f"{scheme.scaffolding.name.lower()}, and the variance is measured of the paper's "
            "regions; toolrest gain measures each method with its own"
        )
    if scheme.reads_signal:
        raise InputError(
            f"scheme {name}: it weighs by gradients of its run's batches, of which a fixed policy "
            "has none; toolrest gain has the region weights of the greatest gain"
        )
    try:
        if not 0 <= float(progress or 0.0) <= 1:
            raise ValueError
    except ValueError:
        raise InputError(f"scheme {name}: progress must be a number from 0 to 1") from None

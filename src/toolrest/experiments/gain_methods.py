"""Methods of a comparison as what they do to a step at a fixed policy: weights times advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolrest.core import credit
from toolrest.core.regions import label_tokens
from toolrest.core.weights import (
    RegionEntropy,
    Scheme,
    Statistic,
    TokenBatch,
    TokenStatistics,
    get_scheme,
)
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.engines.common.reward import totals
from toolrest.errors import InputError
from toolrest.experiments.fixed_policy import check_fixed
from toolrest.experiments.methods import apply_method, read_methods
from toolrest.experiments.plan import flat
from toolrest.experiments.trajectories import Responses
from toolrest.recipe import Recipe

BASELINE = "grpo"
_SHOWN = (
    *("weighting.scheme", "weighting.options", "advantage.scale", "advantage.credit"),
    *("advantage.discount", "reward.schedule", "reward.correctness", "reward.punish_over_calls"),
    *("reward.normalise_strings", "reward.lenient_types", "optimizer.loss"),
)
"""Settings whose effect a step at a fixed policy has."""
_LOSSES = ("grpo", "dr_grpo")
"""A mean over each response, and a sum over it divided by the greatest length."""


@dataclass(frozen=True)
class GainMethod:
    """A method at a point of its run."""

    name: str
    """Its name in tables, such as `rest@0.5`."""
    recipe: Recipe
    """The recipe with its overrides."""
    progress: float | None
    """step / max_steps of its curriculum and reward schedule; None: the policy's own."""
    scheme: Scheme
    """Its weights."""


@dataclass(frozen=True)
class Sampled:
    """Padded responses of one policy, N rows of T tokens, and what it said of each token."""

    responses: Responses
    """Prompts, texts, and what each is scored by."""
    ids: torch.Tensor
    """Int64, [N, T]."""
    mask: torch.Tensor
    """Bool, [N, T]."""
    surprisal: torch.Tensor
    """-ln p, nats, [N, T]."""
    entropy: torch.Tensor
    """Nats, [N, T]."""
    collision: torch.Tensor
    """1 - sum p^2, [N, T]."""


def read_gain_methods(recipe: Recipe, written: str) -> list[GainMethod]:
    """Methods as `toolrest compare` takes them, each also as NAME@PROGRESS; `grpo` is added
    where it is not named.

    Raises:
        InputError: an unknown method, a progress outside 0 to 1, a method given twice, or a recipe
            or method with what a fixed policy cannot show, such as weights by a run's batches.
    """
    check_fixed(recipe, "the gain")
    found: dict[str, GainMethod] = {}
    parts = [part.strip() for part in written.split(",") if part.strip()]
    for part in parts if BASELINE in parts else [BASELINE, *parts]:
        text, at, progress = part.partition("@")
        for method in read_methods(text):
            name = method.name + at + progress
            if name in found:
                raise InputError(f"method {name}: given twice")
            made = apply_method(recipe, method)
            _check_shown(recipe, made, name)
            scheme = get_scheme(made.weighting.scheme, **made.weighting.options)
            if scheme.reads_signal:
                raise InputError(
                    f"method {name}: it weighs by gradients of its run's batches, of which a fixed "
                    "policy has none; the region weights of the greatest gain are measured anyway"
                )
            share = _progress(name, progress) if at else None
            found[name] = GainMethod(name, made, share, scheme)
    return list(found.values())


def _progress(name: str, written: str) -> float:
    try:
        share = float(written)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(f"method {name}: after @ comes the share of its run, from 0 to 1")
    return share


def _check_shown(recipe: Recipe, made: Recipe, name: str) -> None:
    """Nothing of a method would be ignored."""
    before, after = (flat(each.model_dump(mode="json")) for each in (recipe, made))
    for key in before | after:
        if before.get(key) != after.get(key) and not key.startswith(_SHOWN):
            raise InputError(
                f"method {name}: {key}={after.get(key)} changes nothing of a step at a fixed "
                "policy, so its gain would be that of another method; leave it out"
            )
    if made.optimizer.loss not in _LOSSES:
        raise InputError(
            f"method {name}: optimizer.loss={made.optimizer.loss} cannot be told from another at a "
            f"fixed policy; a gain is measured with {' or '.join(_LOSSES)}"
        )


def coefficients(
    method: GainMethod, sampled: Sampled, progress: float, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What multiplies each token's score in the method's step, and the token's region, [N, T] each.

    w_t A_t / T for losses that are a mean over each response, w_t A_t / (greatest length) for
    dr_grpo. Schemes that look at a batch are given B prompts at a time; region entropies are those
    of all responses.

    Args:
        progress: the policy's; a method with its own has that.
        batch: prompts of a step, B.
    """
    recipe, responses = method.recipe, sampled.responses
    progress = progress if method.progress is None else method.progress
    regions = label_tokens(
        sampled.ids,
        sampled.mask,
        responses.speech.vocabulary,
        responses.speech.dialect,
        openings=responses.openings,
        scaffolding=method.scheme.scaffolding,
    )
    advantages, credited = _advantages(recipe, sampled, progress)
    weights = _weights(method.scheme, sampled, regions, advantages, (progress, batch))
    lengths = sampled.mask.sum(1, keepdim=True).clamp(min=1).double()
    if recipe.optimizer.loss == "dr_grpo":
        lengths = torch.full_like(lengths, recipe.rollout.max_response_tokens)
    product = credit.apply(weights.double(), credited)
    return torch.where(sampled.mask, product / lengths, 0.0), regions


def _advantages(
    recipe: Recipe, sampled: Sampled, progress: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One advantage a response, [N], and what is credited: that, or one a token, [N, T]."""
    responses, size = sampled.responses, sampled.responses.group_size
    reward = recipe_reward(recipe)
    breakdowns = reward.score_batch(responses.texts, responses.asked, progress)
    rewards = torch.tensor(totals(breakdowns), dtype=torch.float64)
    if recipe.advantage.scale == "group":
        advantages = credit.group_normalise(rewards, size)
    else:
        groups = rewards.view(-1, size)
        advantages = (groups - groups.mean(1, keepdim=True)).view(-1)
        if recipe.advantage.scale == "batch":
            advantages = advantages / (rewards.std() + 1e-4)
    if recipe.advantage.credit != "spans":
        return advantages, advantages
    decided = batch_potentials(
        sampled.ids,
        sampled.mask,
        responses.asked,
        reward,
        responses.speech.vocabulary,
        progress,
    )
    options = recipe.advantage
    credited = credit.reward_to_go(
        rewards, decided, size, discount=options.discount, scale=options.scale
    )
    return advantages, credited


def _weights(
    scheme: Scheme,
    sampled: Sampled,
    regions: torch.Tensor,
    advantages: torch.Tensor,
    when: tuple[float, int],
) -> torch.Tensor:
    """The scheme's weights of every token, [N, T]; `when`: progress and prompts of a batch."""
    progress, batch = when
    size, entropy = sampled.responses.group_size, None
    if scheme.statistic is not None:
        collision = scheme.statistic is Statistic.COLLISION
        values = sampled.collision if collision else sampled.entropy
        entropy = RegionEntropy.measure(values, regions, sampled.mask)
    found: list[torch.Tensor] = []
    for start in range(0, len(regions), batch * size):
        rows = slice(start, start + batch * size)
        tokens = TokenStatistics(
            sampled.ids[rows],
            sampled.entropy[rows],
            sampled.surprisal[rows],
            advantages[rows],
            size,
        )
        part = TokenBatch(regions[rows], sampled.mask[rows], progress, entropy, tokens)
        found.append(scheme(part))
    return torch.cat(found)


def target_credit(sampled: Sampled, recipe: Recipe, target: str) -> tuple[torch.Tensor, float]:
    """What multiplies each response's score in the target's unbiased gradient, [N], and its mean.

    (Y_i - mean of the other responses' Y) / G, Y the reward under the constant schedule, as
    held-out evaluations have it (`reward`), or whether all is right (`exact`).
    """
    responses, size = sampled.responses, sampled.responses.group_size
    reward = recipe_reward(recipe, "constant")
    breakdowns = reward.score_batch(responses.texts, responses.asked)
    values = totals(breakdowns) if target == "reward" else [float(b.exact) for b in breakdowns]
    groups = torch.tensor(values, dtype=torch.float64).view(-1, size)
    others = (groups.sum(1, keepdim=True) - groups) / (size - 1)
    return ((groups - others) / size).view(-1), float(groups.mean())


def check_targets(written: str) -> Sequence[str]:
    """The targets of `reward,exact`.

    Raises:
        InputError: another, one twice, or none.
    """
    names = [part.strip() for part in written.split(",") if part.strip()]
    if not names or len(set(names)) < len(names) or not set(names) <= {"reward", "exact"}:
        raise InputError(f"--target {written}: give reward, exact, or both: reward,exact")
    return names

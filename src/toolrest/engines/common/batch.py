"""The rollouts of one generation as the engines pass them on, and metrics by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolrest.core.regions import Region
from toolrest.core.rewards import RewardBreakdown
from toolrest.core.turns import Part
from toolrest.core.weights import RegionEntropy, Statistic
from toolrest.engines.common.episodes import Played


@dataclass(frozen=True)
class RolloutBatch:
    """One generation's rollouts on this process, before they are shuffled into batches."""

    step: int
    """Optimiser steps done before they were sampled."""
    inputs: Sequence[dict[str, Any]]
    """Rows of the data set, one a response."""
    completion_ids: torch.Tensor
    """Sampled ids, [B, T]."""
    mask: torch.Tensor
    """Tokens that the loss counts, bool, [B, T]."""
    sampled: torch.Tensor
    """Tokens that the policy sampled, bool, [B, T]: those, and what `mask_truncated` leaves out."""
    regions: torch.Tensor
    """`Region` of each token, int64, [B, T]."""
    weights: torch.Tensor
    """Weight of each token, [B, T]."""
    advantages: torch.Tensor
    """One advantage a response, [B]: GRPO's, whatever its tokens are credited with."""
    entropies: torch.Tensor | None
    """Entropy of the distribution that each token was drawn from, nats, [B, T], if measured."""
    breakdowns: Sequence[RewardBreakdown]
    """Reward parts, one a response; empty where no `ToolReward` is used."""
    episodes: Played | None = None
    """The episodes that they are, one a response; None: there is no environment."""
    credited: torch.Tensor | None = None
    """The advantage of each token before its weight, [B, T]; None: its response's."""
    forks: torch.Tensor | None = None
    """The first token of each response that its siblings do not share, int64, [B]; None: no group
    branches."""
    openings: Sequence[str] = ()
    """The part of each reply that its prompt has written already; empty: nothing."""


def signal_metrics(
    counts: Sequence[float], weights: Sequence[float], signals: Sequence[float]
) -> dict[str, float]:
    """{`share/R`, `weight/R`, `signal/R`} for each region R: share of tokens, mean weight, and
    share of the gradient signal sum w|A|.

    Args:
        counts: number of tokens of each region, [R].
        weights: sum of the weights of each region, [R].
        signals: sum of weight times absolute advantage of each region, [R].
    """
    found: dict[str, float] = {}
    for region in Region:
        name = region.name.lower()
        found[f"share/{name}"] = counts[region] / max(1.0, sum(counts))
        if counts[region]:
            found[f"weight/{name}"] = weights[region] / counts[region]
        found[f"signal/{name}"] = signals[region] / max(1e-12, sum(signals))
    return found


def entropy_metrics(entropy: RegionEntropy, statistic: Statistic) -> dict[str, float]:
    """The average of each region that has a token, by metric name."""
    return {
        f"{statistic}/{region.name.lower()}": entropy.mean[region].item()
        for region in Region
        if entropy.count[region] > 0
    }


def turn_entropy_metrics(parts: Sequence[RegionEntropy], statistic: Statistic) -> dict[str, float]:
    """`turn_entropy/first`, `/middle` and `/last`, and each of them by region, as
    `turn_entropy/first/reasoning`, where there is a token.

    Args:
        parts: of the turns of each `toolrest.core.turns.Part`.
    """
    found: dict[str, float] = {}
    for part, entropy in zip(Part, parts, strict=True):
        count = entropy.count.sum()
        if count > 0:
            name = f"turn_{statistic}/{part.name.lower()}"
            found[name] = (entropy.total.sum() / count).item()
            for metric, value in entropy_metrics(entropy, statistic).items():
                found[f"{name}/{metric.partition('/')[2]}"] = value
    return found

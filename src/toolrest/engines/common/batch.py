"""One generation's rollouts as an engine hands them on, and their metrics by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolrest.core.regions import Region
from toolrest.core.rewards import RewardBreakdown


@dataclass(frozen=True)
class RolloutBatch:
    """One generation's rollouts on this process, before they are shuffled into batches."""

    step: int
    """Optimiser steps done when they were sampled."""
    inputs: Sequence[dict[str, Any]]
    """Rows of the data set, one a response."""
    completion_ids: torch.Tensor
    """Sampled ids, [B, T]."""
    mask: torch.Tensor
    """Tokens that count, bool, [B, T]."""
    regions: torch.Tensor
    """Their regions, [B, T]."""
    weights: torch.Tensor
    """Their weights, [B, T]."""
    advantages: torch.Tensor
    """One advantage a response, [B]."""
    entropies: torch.Tensor | None
    """Entropy of the distribution that each token was drawn from, nats, [B, T], if measured."""
    breakdowns: Sequence[RewardBreakdown]
    """Reward parts, one a response; empty where no `ToolReward` is used."""
    openings: Sequence[str] = ()
    """What each prompt has written of the reply already."""


def signal_metrics(
    counts: Sequence[float], weights: Sequence[float], signals: Sequence[float]
) -> dict[str, float]:
    """Share of tokens, mean weight and share of the gradient signal sum w|A| of each region.

    Args:
        counts: tokens of each region.
        weights: sums of their weights.
        signals: sums of their weights times absolute advantages.
    """
    found: dict[str, float] = {}
    for region in Region:
        name = region.name.lower()
        found[f"share/{name}"] = counts[region] / max(1.0, sum(counts))
        if counts[region]:
            found[f"weight/{name}"] = weights[region] / counts[region]
        found[f"signal/{name}"] = signals[region] / max(1e-12, sum(signals))
    return found

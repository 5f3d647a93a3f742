"""GTPO: a token's weight follows its entropy within the group."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.weights.base import Scheme, TokenBatch

_FLOOR = 1e-3
"""Nats; keeps the inverse of a certain token's entropy finite."""


@dataclass(frozen=True)
class Gtpo(Scheme):
    """GTPO, Group Token Policy Optimization (arXiv 2508.04349), as public notes quote it; not the
    other method of that name (arXiv 2604.02869).

    A token at position t weighs by the ratio of its entropy to the mean entropy at t of the
    group's responses that are of the same sign and reach t: H_{i,t} / mean_k H_{k,t} where the
    advantage is not negative, and the same of 1 / H where it is, so that exploration is not what a
    bad response is punished for.
    """

    mix: float = 0.5
    """How much of the weight follows the ratio; the rest is 1. Ours."""
    reads_tokens = True

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ValueError(f"need 0 <= mix <= 1; got {self.mix}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        tokens = batch.tokens
        good = (tokens.advantages >= 0).unsqueeze(1).expand_as(batch.mask)
        certainty = 1 / tokens.entropy.clamp(min=_FLOOR)
        value = torch.where(good, tokens.entropy.clamp(min=_FLOOR), certainty)
        raw = torch.zeros_like(value)
        for side in (good, ~good):
            counted = batch.mask & side
            grouped = (value * counted).view(-1, tokens.group_size, value.shape[1])
            count = counted.view(-1, tokens.group_size, value.shape[1]).sum(1, keepdim=True)
            mean = grouped.sum(1, keepdim=True) / count.clamp(min=1)
            ratio = grouped / mean.clamp(min=1e-12)
            raw += ratio.view_as(raw)
        return 1 - self.mix + self.mix * raw

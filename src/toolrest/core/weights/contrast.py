"""Contrast: more for tokens that the good and the bad responses of a group do not share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.precision import widest
from toolrest.core.regions import Region
from toolrest.core.weights.base import Scheme, TokenBatch


@dataclass(frozen=True)
class Contrast(Scheme):
    """Weigh where a group's rewards disagree; ours, a hypothesis that docs/experiments.md tries.

    Within a group, a token of region r and id v weighs

        floor + |P(v in r | A > 0) - P(v in r | A < 0)|

    with P the share of the group's responses of that sign whose region r holds v. What every
    response writes, such as the format once it is learnt, weighs `floor`; so do all tokens of a
    group whose rewards are equal. The weight knows what was sampled, so unlike a region's weight it
    biases the gradient.
    """

    floor: float = 0.25
    """Weight of a token that tells nothing."""
    reads_tokens = True

    def __post_init__(self) -> None:
        if self.floor <= 0:
            raise ValueError(f"need floor > 0; got {self.floor}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        tokens = batch.tokens
        what = tokens.ids * len(Region) + batch.regions
        raw = torch.full(what.shape, self.floor, dtype=widest(what.device), device=what.device)
        for start in range(0, len(what), tokens.group_size):
            group = slice(start, start + tokens.group_size)
            advantages = tokens.advantages[group]
            signs = advantages > 0, advantages < 0
            if not all(sign.any() for sign in signs):
                continue
            raw[group] += _difference(what[group], batch.mask[group], signs)
        return raw


def _difference(
    what: torch.Tensor, mask: torch.Tensor, signs: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """|share of good responses with it - share of bad ones| of each token, [G, T]."""
    kinds, index = torch.unique(what, return_inverse=True)
    held = torch.zeros((len(what), len(kinds)), dtype=widest(what.device), device=what.device)
    held.scatter_reduce_(1, index, mask.to(held.dtype), reduce="amax")
    good, bad = (held[sign].mean(dim=0) for sign in signs)
    return (good - bad).abs()[index]

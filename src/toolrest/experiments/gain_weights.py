"""The region weights of the greatest gain, and what they gain on prompts that did not choose them.

Weights here are constants by region on the gradients of equal weights: a response's weights are not
normalised to mean 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.signal import best_region_weights
from toolrest.experiments.gain import (
    Products,
    adam_products,
    chunks,
    divisor,
    fold_of,
    sgd_products,
)

HALVES = 2
"""Each half's weights are tried on the other."""
SHRINKAGE = 0.3
"""Towards equal weights; see `best_region_weights`."""


@dataclass(frozen=True)
class Moments:
    """Noise and signal of the regions' gradients in one metric."""

    noise: torch.Tensor
    """Q_{rs} = E <G_r, G_s> of a batch, [R, R]."""
    signal: torch.Tensor
    """c_r = <E g_r, E u>, between different prompts, [R]."""


def region_moments(
    regions: torch.Tensor, target: torch.Tensor, batch: int, *, adam: bool
) -> Moments:
    """Noise and signal of equal weights.

    Args:
        regions: each prompt's gradient by region, [R, P, D].
        target: the target's gradients, [P, D].
        batch: prompts of a step, B.
        adam: whether both are in the metric of Adam's v of all regions together.
    """
    number, count = regions.shape[:2]
    own, across = torch.zeros(2, number, number, dtype=torch.float64)
    signal = torch.zeros(number, dtype=torch.float64)
    for part, aim in chunks(regions, target):
        scaled = part / divisor(part.sum(0), batch) if adam else part
        flat = scaled.transpose(0, 1).reshape(count, number, -1)
        inner = torch.bmm(flat, flat.transpose(1, 2)).sum(0)
        total = scaled.sum(1)
        own += inner
        across += total @ total.T - inner
        signal += total @ aim.sum(0) - (scaled * aim).sum((1, 2))
    pairs = count * (count - 1)
    return Moments(own / count / batch + (1 - 1 / batch) * across / pairs, signal / pairs)


def best_weights(moments: Moments) -> torch.Tensor:
    """w ~ Q^-1 c, shrunk, [R]."""
    return best_region_weights(moments.noise, moments.signal, SHRINKAGE)


def halves_weights(
    regions: torch.Tensor, target: torch.Tensor, batch: int, *, adam: bool
) -> list[torch.Tensor]:
    """For each half of the prompts the weights that the other half chooses, [R] each."""
    halves = fold_of(regions.shape[1], HALVES)
    return [
        best_weights(
            region_moments(regions[:, halves != half], target[halves != half], batch, adam=adam)
        )
        for half in range(HALVES)
    ]


def weighted_products(
    regions: torch.Tensor,
    target: torch.Tensor,
    batch: int,
    weights: list[torch.Tensor],
    *,
    adam: bool,
) -> Products:
    """The products of steps with each half's weights, between prompts of the same half; Adam's
    v is held fixed.

    Args:
        regions: each prompt's gradient by region, [R, P, D].
        target: the target's gradients, [P, D].
        batch: prompts of a step, B.
        weights: each half's, [R] each.
        adam: whether steps are Adam's.
    """
    count = regions.shape[1]
    halves = fold_of(count, HALVES)
    towards = torch.zeros(1, count, count, dtype=torch.float64)
    among, square, pairs = torch.zeros(count, count, dtype=torch.float64), 0.0, None
    for half, chosen in enumerate(weights):
        whole = torch.einsum("rpd,r->pd", regions, chosen.to(regions.dtype))[None]
        made = adam_products(whole, target, batch) if adam else sgd_products(whole, target)
        own = (halves == half)[:, None] & (halves == half)
        pairs = made.pairs & own if pairs is None else pairs | (made.pairs & own)
        towards = torch.where(own, made.towards, towards)
        among = among if made.among is None else torch.where(own, made.among, among)
        square += made.square / HALVES
    assert pairs is not None
    return Products(towards, pairs, None if adam else among, square)

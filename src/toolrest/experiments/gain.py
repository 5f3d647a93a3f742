"""How much a normalised step improves a target: estimates and intervals from prompts' gradients.

g_p is a prompt's part of a method's policy gradient, region by region, u_p the unbiased gradient of
the target's mean from the same prompt's responses. A step on a batch of B prompts is the mean of
their g_p; its gain per unit of length is

    SGD:  <E g, E u> / sqrt(E ||G||^2),         E ||G||^2 = E ||g||^2 / B + (1 - 1/B) ||E g||^2
    Adam: <E g / d, E u> / sqrt(E ||G / d||^2),  d = sqrt(v) + eps,  v = E G^2 by element

Products are taken between different prompts only, so that no noise is taken for a gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from toolrest.experiments.statistics import Estimate

FOLDS = 4
"""Parts of the prompts; Adam's v comes from all parts but the one whose targets it is used on."""
EPS = 1e-8
"""Adam's."""
_RESAMPLES = 2_000
_CHUNK = 1 << 13
"""Parameters that are looked at together."""


@dataclass(frozen=True)
class Products:
    """Inner products between the gradients of P prompts: all that a gain and a resample need."""

    towards: torch.Tensor
    """<g_p^r, u_q>, in Adam's metric divided by d, float64, [R, P, P]."""
    pairs: torch.Tensor
    """Which (p, q) count, bool, [P, P]; never p = q."""
    among: torch.Tensor | None
    """<g_p, g_q>, [P, P]; None: the step's length is `square`."""
    square: float = 0.0
    """E ||G / d||^2, which Adam's v fixes."""
    shift: torch.Tensor | None = None
    """How the mean of `towards` answers to a greater share of prompt p in v, first order, [R, P];
    None: v is held fixed, or there is none."""


def sgd_products(regions: torch.Tensor, target: torch.Tensor) -> Products:
    """The products of plain steps.

    Args:
        regions: each prompt's gradient by region, [R, P, D].
        target: the target's gradients, [P, D].
    """
    count = regions.shape[1]
    towards = torch.zeros(regions.shape[0], count, count, dtype=torch.float64)
    among = torch.zeros(count, count, dtype=torch.float64)
    for part, aim in chunks(regions, target):
        whole = part.sum(0)
        towards += part @ aim.T
        among += whole @ whole.T
    return Products(towards, ~torch.eye(count, dtype=torch.bool), among)


def adam_products(regions: torch.Tensor, target: torch.Tensor, batch: int) -> Products:
    """The products of Adam's steps, with v = (1/B) mean_p g_p^2 + (1 - 1/B) (mean_p g_p)^2.

    That is the mean of G^2 over batches drawn with replacement. For targets of one fold, v and g
    are of the other folds. A prompt's g is in the v that divides it, as in Adam itself: in a v of
    others it would be 0 wherever only this prompt reaches, as in the embedding of a rare token.

    Args:
        regions: each prompt's gradient by region, [R, P, D].
        target: the target's gradients, [P, D].
        batch: B.
    """
    count = regions.shape[1]
    towards = torch.zeros(regions.shape[0], count, count, dtype=torch.float64)
    shift = torch.zeros(regions.shape[0], count, dtype=torch.float64)
    square, folds = 0.0, fold_of(count, FOLDS)
    inside = torch.stack([folds == fold for fold in range(FOLDS)])
    shares = inside.sum(1) * (~inside).sum(1) / (inside.sum(1) * (~inside).sum(1)).sum()
    outside = (~inside).float() / (~inside).sum(1, keepdim=True)
    for part, aim in chunks(regions, target):
        whole = part.sum(0)
        squares, means = whole.square(), outside @ part
        for share, mine, others, mean in zip(
            shares.tolist(), inside, outside, means.transpose(0, 1).double(), strict=True
        ):
            total = mean.sum(0)
            second = (others @ squares).double() / batch + (1 - 1 / batch) * total.square()
            root = second.sqrt()
            divided = root + EPS
            found = part @ (aim[mine] / divided.float()).T
            towards[:, :, mine] += torch.where(others[:, None] > 0, found, 0.0)
            square += share * float((second / divided.square()).sum())
            slope = -aim[mine].mean(0) / (2 * root * divided.square())
            slope = torch.where(root > 0, slope, 0.0) * mean
            # of v, as prompt p counts for more: (g_p^2 - mean) / B + 2 (1 - 1/B) (g_p - mean) mean
            moved = squares @ (slope / batch).float().T
            moved += whole @ (2 * (1 - 1 / batch) * slope * total).float().T
            shift += share * (others[:, None] * (moved - others @ moved)).T
    pairs = folds[:, None] != folds
    return Products(towards, pairs, None, square, shift)


def divisor(whole: torch.Tensor, batch: int) -> torch.Tensor:
    """Adam's sqrt(v) + eps by element, [D], of all prompts' gradients [P, D]."""
    mean = whole.mean(0)
    return (whole.square().mean(0) / batch + (1 - 1 / batch) * mean.square()).sqrt() + EPS


def fold_of(count: int, folds: int) -> torch.Tensor:
    """The fold of each prompt, [P]: in turn."""
    return torch.arange(count) % folds


def chunks(*gradients: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same few parameters of each, [.., D'], whose sums float32 holds."""
    for start in range(0, gradients[0].shape[-1], _CHUNK):
        yield tuple(each[..., start : start + _CHUNK].contiguous() for each in gradients)


def resamples(count: int, seed: int = 0) -> torch.Tensor:
    """How often each prompt is in each bootstrap sample, [S + 1, P]; the first is the sample
    itself.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    return torch.cat((torch.ones(1, count), torch.from_numpy(drawn))).double()


def gains(products: Products, batch: int, counts: torch.Tensor) -> torch.Tensor:
    """The gain per unit of a step's length, by region, of each resample, [S, R].

    A prompt that a resample holds twice makes no pair with itself. A step of no length gains 0.

    Args:
        products: of one method and target.
        batch: B.
        counts: see `resamples`, [S, P].
    """
    used = products.pairs.double()
    weighed = torch.einsum("rpq,sq->rsp", products.towards * used, counts)
    number = ((counts @ used) * counts).sum(1)
    mean = (weighed * counts).sum(2).T / number[:, None]
    if products.shift is not None:
        mean = mean + (counts - 1) @ products.shift.T
    steps = length(products, batch, counts)[:, None]
    return torch.where(steps > 0, mean / steps, 0.0)


def length(products: Products, batch: int, counts: torch.Tensor) -> torch.Tensor:
    """sqrt(E ||G||^2) of each resample, [S]."""
    if products.among is None:
        return torch.full((len(counts),), products.square**0.5, dtype=torch.float64)
    own = counts @ products.among.diagonal() / counts.sum(1)
    apart = products.pairs.double()
    across = ((counts @ (products.among * apart)) * counts).sum(1)
    across = across / ((counts @ apart) * counts).sum(1)
    # ||E g||^2 as estimated can be below 0; the length's square is not
    return (own / batch + (1 - 1 / batch) * across).clamp(min=1e-3 * own / batch).sqrt()


def interval(values: torch.Tensor) -> Estimate:
    """The first value with the percentile interval of the others, 95 %, [S].

    The rare resample of few prompts that has no pair is NaN and left out.
    """
    low, high = np.nanquantile(values[1:].numpy(), (0.025, 0.975))
    return Estimate(float(values[0]), float(low), float(high))


def ratio(values: torch.Tensor, baseline: torch.Tensor) -> Estimate | None:
    """values / baseline, [S] each; None where the baseline's interval holds 0 or is below it."""
    told = interval(baseline)
    if told.low is None or told.low <= 0:
        return None
    return interval(values / baseline)


def differs(found: Estimate) -> bool:
    """Whether the interval leaves out 0."""
    return found.low is not None and found.high is not None and not found.low <= 0 <= found.high


def named(values: torch.Tensor, names: Sequence[str]) -> dict[str, Estimate]:
    """The interval of each region, by its name; values [S, R]."""
    return {name: interval(values[:, index]) for index, name in enumerate(names)}

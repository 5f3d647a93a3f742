"""A clipping range of the probability ratio for each region, by the region's entropy."""

from __future__ import annotations

import torch

from toolrest.core.regions import Region
from toolrest.core.weights.entropy import RegionEntropy, Statistic

LEAST, MOST = 0.5, 2.0
"""Bounds of a region's range, in ranges of all tokens; those of ResT's weights."""
_FLOOR = 1e-6
"""Keeps the range of a region without any entropy above 0; the bounds take over from there."""


def clip_factors(entropy: RegionEntropy, statistic: Statistic = Statistic.ENTROPY) -> torch.Tensor:
    """What the clipping range is multiplied by in each region; ours.

    A step of the logits by d moves ln pi(a) by <score_a, d>. For a d of no preferred direction its
    variance is |d|^2 / V times (1 - sum_v p_v^2), which is at most 1 - exp(-H) (the bound that
    ResT's weights rest on, arXiv 2509.21826). So with

        f_r = clip(c sqrt(1 - exp(-H_r)), 0.5, 2),   c such that sum_r n_r f_r = sum_r n_r,

    all regions are clipped at about as many standard deviations of their log-ratios, while a token
    has the recipe's range on average. Of one range for all, a sure region's tokens use little: they
    leave it when something has gone wrong.

    OTHER has 1 and counts in no mean, as in ResT's weights, and so has a region without tokens.

    Args:
        entropy: the statistic of each region.
        statistic: with COLLISION, 1 - sum_v p_v^2 itself stands under the root.

    Returns:
        Float64, [number of regions].
    """
    seen = entropy.count > 0
    seen[Region.OTHER] = False
    if not seen.any():
        return torch.ones_like(entropy.count)
    mean = entropy.mean[seen].clamp(min=_FLOOR)
    moment = mean if statistic is Statistic.COLLISION else -torch.expm1(-mean)
    factors = torch.ones_like(entropy.count)
    factors[seen] = _scaled(moment.sqrt(), entropy.count[seen])
    return factors


def _scaled(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """clip(c values, LEAST, MOST) with the c at which their mean by counts is 1.

    The mean is linear in c between the places where a value meets a bound, and rises from LEAST to
    MOST.
    """
    places = torch.cat((LEAST / values, MOST / values)).sort().values
    means = ((places[:, None] * values).clamp(LEAST, MOST) * counts).sum(1) / counts.sum()
    after = int((means < 1).sum().clamp(1, len(means) - 1))
    before = after - 1
    way = (1 - means[before]) / (means[after] - means[before])
    return (torch.lerp(places[before], places[after], way) * values).clamp(LEAST, MOST)

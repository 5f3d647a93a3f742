"""Statistics of runs: intervals, paired tests, steps to reach a level. Pure functions on arrays.

Every array has one number, or one curve, for each seed; methods are compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

Values = Sequence[float] | np.ndarray
"""Numbers in a row."""

_EXACT_UP_TO = 14
"""Seeds up to which all 2^n signs are tried."""
_DRAWS = 20_000
_BOOTSTRAPS = 4_000


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    """The estimate."""
    low: float | None
    """Lower end; None where there is none, as with one seed."""
    high: float | None
    """Upper end; None where there is none, infinity where it cannot be bounded."""


def mean_interval(values: Values) -> Estimate:
    """The mean and its Student t interval, mean +- t_{n-1, 0.975} s / sqrt(n).

    Args:
        values: one a seed; with one seed there is no interval.

    Raises:
        ValueError: there are none.
    """
    from scipy.stats import t

    found = np.asarray(values, dtype=float)
    if found.size == 0:
        raise ValueError("a mean needs at least one value")
    mean = float(found.mean())
    if found.size == 1:
        return Estimate(mean, None, None)
    half = float(t.ppf(0.975, found.size - 1)) * float(found.std(ddof=1)) / found.size**0.5
    return Estimate(mean, mean - half, mean + half)


def sign_flip_test(differences: Values) -> float:
    """Two-sided p of paired differences under exchangeable signs (Fisher's randomisation test).

    The share of all sign patterns whose |sum| is at least the observed one; up to 14 seeds all
    patterns are tried, beyond that 20,000 seeded draws, the observed pattern counted in. Sums that
    differ by rounding alone count as equal.
    """
    found = np.asarray(differences, dtype=float)
    if found.size == 0:
        raise ValueError("a test needs at least one difference")
    observed = abs(found.sum()) - 1e-12 * np.abs(found).sum()
    if found.size <= _EXACT_UP_TO:
        signs = np.array(list(product((1.0, -1.0), repeat=found.size)))
        return float((np.abs(signs @ found) >= observed).mean())
    signs = np.random.default_rng(0).choice((1.0, -1.0), size=(_DRAWS, found.size))
    return float((1 + (np.abs(signs @ found) >= observed).sum()) / (1 + _DRAWS))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down method, in the order given."""
    order = np.argsort(p_values)
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        corrected[index] = running
    return corrected


def reach(steps: Values, values: Values, level: float) -> float | None:
    """The step at which a curve reaches a level first, between its points by straight lines.

    Returns:
        None where it never does.
    """
    if values[0] >= level:
        return float(steps[0])
    for index in range(1, len(steps)):
        before, after = values[index - 1], values[index]
        if after >= level:
            part = (level - before) / (after - before)
            return float(steps[index - 1] + part * (steps[index] - steps[index - 1]))
    return None


def running_best(curve: np.ndarray) -> np.ndarray:
    """The greatest value so far, along the last axis."""
    return np.maximum.accumulate(curve, axis=-1)


@dataclass(frozen=True)
class StepRatio:
    """How many steps a method takes to the baseline's final level, over the baseline's steps."""

    ratio: Estimate
    """The method's step over the baseline's last step; its interval by a bootstrap over seeds.
    `value` and `high` are infinite where the method does not get there."""
    first: Estimate
    """The same over the step at which the baseline's mean curve reaches the level first, which can
    be before its last step: the stricter figure."""
    level: float
    """The baseline's mean at its last step."""
    step: float
    """Where the method's mean curve reaches the level first; infinite where it does not."""
    baseline_step: float
    """The baseline's last step."""
    never: float
    """Share of the bootstrap's samples in which the method does not get there."""


@dataclass(frozen=True)
class SeedRatio:
    """Steps to a level seed by seed, both sides cut off at the last step alike."""

    ratio: Estimate
    """The method's mean over the baseline's, of min(step, last step); interval by a bootstrap over
    seeds. Cutting off pulls it towards 1."""
    method: tuple[float | None, ...]
    """The method's step of each seed; None where it does not get there."""
    baseline: tuple[float | None, ...]
    """The baseline's."""
    never: int
    """Seeds of the method that do not get there."""
    baseline_never: int
    """Seeds of the baseline that do not: its level is a mean, so about half of them."""


def seed_ratio(steps: Values, method: np.ndarray, baseline: np.ndarray) -> SeedRatio:
    """Restricted mean steps to the baseline's final mean, method over baseline.

    mean_i min(T_i, last) of the method over that of the baseline (restricted mean times, Royston
    and Parmar 2013). A seed's noisy curve crosses a level early by chance; as that holds for both
    sides, their ratio is 1 where the method is the baseline, while the method's T_i over the last
    step would be less. Interval: percentiles of 4,000 bootstrap samples of seeds, the same seeds
    for both sides, the level anew in each; none with one seed.

    Args:
        steps: at which both were evaluated, [E], ascending.
        method: held-out values, [S, E], a row a seed.
        baseline: the same seeds' values, [S, E].
    """
    method, baseline = np.asarray(method, dtype=float), np.asarray(baseline, dtype=float)
    count, last = len(method), float(steps[-1])
    drawn = np.random.default_rng(0).choice(count, size=(_BOOTSTRAPS, count))
    chosen = np.vstack([np.arange(count), drawn])
    levels = np.repeat(baseline[chosen, -1].mean(1), count)
    reached = [
        _reach_all(steps, side[chosen].reshape(-1, side.shape[1]), levels).reshape(-1, count)
        for side in (method, baseline)
    ]
    means = [np.minimum(each, last).mean(1) for each in reached]
    ratios = np.array([_over(*pair) for pair in zip(*means, strict=True)])
    ends = _percentiles(np.sort(ratios[1:])) if count > 1 else (None, None)
    mine, theirs = (
        tuple(None if np.isinf(step) else float(step) for step in each[0]) for each in reached
    )
    return SeedRatio(
        Estimate(float(ratios[0]), *ends), mine, theirs, mine.count(None), theirs.count(None)
    )


def step_ratio(steps: Values, method: np.ndarray, baseline: np.ndarray) -> StepRatio:
    """Steps of the mean curves to the baseline's final mean.

    level = mean over seeds of the baseline's last value. Intervals: percentiles of 4,000 bootstrap
    samples of seeds, the same seeds for both sides, the level anew in each; a sample in which the
    method does not get there counts as infinite.

    Args:
        steps: at which both were evaluated, [E], ascending, the first one before any training.
        method: held-out values, [S, E], a row a seed.
        baseline: the same seeds' values, [S, E].
    """
    method, baseline = np.asarray(method, dtype=float), np.asarray(baseline, dtype=float)
    count, last = len(method), float(steps[-1])
    drawn = np.random.default_rng(0).choice(count, size=(_BOOTSTRAPS, count))
    chosen = np.vstack([np.arange(count), drawn])  # all seeds as they are, then the samples
    curves, references = method[chosen].mean(1), baseline[chosen].mean(1)
    levels = references[:, -1]
    mine = _reach_all(steps, curves, levels)
    theirs = _reach_all(steps, references, levels)
    ratios = mine / last
    stricts = np.array([_over(*pair) for pair in zip(mine, theirs, strict=True)])
    ends = [(None, None)] * 2
    if count > 1:
        ends = [_percentiles(np.sort(each[1:])) for each in (ratios, stricts)]
    return StepRatio(
        Estimate(float(ratios[0]), *ends[0]),
        Estimate(float(stricts[0]), *ends[1]),
        float(levels[0]),
        float(mine[0]),
        last,
        float(np.isinf(ratios[1:]).mean()),
    )


def _reach_all(steps: Values, curves: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """`reach` of each curve [B, E] and its level [B]; infinite where it never does."""
    reached = curves >= levels[:, None]
    after = reached.argmax(1)
    before, rows, at = np.maximum(after - 1, 0), np.arange(len(curves)), np.asarray(steps, float)
    rise = np.where(after > 0, curves[rows, after] - curves[rows, before], 1.0)
    part = np.where(after > 0, (levels - curves[rows, before]) / np.where(rise > 0, rise, 1.0), 0.0)
    found = at[before] + part * (at[after] - at[before])
    return np.where(reached.any(1), found, np.inf)


def _over(mine: float, theirs: float) -> float:
    """mine / theirs; 1 where both start at the level."""
    if theirs == 0:
        return 1.0 if mine == 0 else float("inf")
    return mine / theirs


def _percentiles(ordered: np.ndarray) -> tuple[float, float]:
    """2.5 and 97.5 %, of values that may be infinite: no interpolation."""
    low, high = (int(share * (len(ordered) - 1)) for share in (0.025, 0.975))
    return float(ordered[low]), float(ordered[high])


def area(steps: Values, values: Values) -> float:
    """The mean height of a curve: its area by trapezoids over its length."""
    width = float(steps[-1] - steps[0])
    if width == 0:
        return float(values[-1])
    return float(np.trapezoid(values, steps)) / width

"""Statistics of runs: intervals, paired tests, steps to reach a level. Pure functions on arrays.

Every array has one number, or one curve, for each seed; methods are compared seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Values = Sequence[float] | np.ndarray
"""Numbers in a row."""

_SIGN_PATTERNS = 20_000
"""Tried at most; enough for all 2^n of up to 14 seeds."""
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


ANYTHING = (-np.inf, np.inf)
"""What a number lies in of which nothing is known."""
SHARE = (0.0, 1.0)
"""What a share lies in."""
SHARES_APART = (-1.0, 1.0)
"""What the difference of two shares lies in."""


def mean_interval(values: Values, within: tuple[float, float] = ANYTHING) -> Estimate:
    """The mean and its Student t interval, mean +- t_{n-1, 0.975} s / sqrt(n).

    Args:
        values: one a seed; with one seed there is no interval.
        within: what the mean lies in for certain; the interval is cut to it, which covers as often.

    Raises:
        ValueError: there are none.
    """
    found = np.asarray(values, dtype=float)
    if found.size == 0:
        raise ValueError("a mean needs at least one value")
    mean = float(found.mean())
    if found.size == 1:
        return Estimate(mean, None, None)
    half = float(stats.t.ppf(0.975, found.size - 1)) * float(found.std(ddof=1)) / found.size**0.5
    return Estimate(mean, max(mean - half, within[0]), min(mean + half, within[1]))


def sign_flip_test(differences: Values) -> float:
    """Two-sided p of paired differences under exchangeable signs (Fisher's randomisation test).

    The share of all sign patterns whose |sum| is at least the observed one; up to 14 seeds all
    patterns are tried, beyond that 20,000 seeded draws, the observed pattern counted in. Sums that
    differ by rounding alone count as equal.
    """
    found = np.asarray(differences, dtype=float)
    if found.size == 0:
        raise ValueError("a test needs at least one difference")
    if found.size == 1:  # scipy wants two; both signs have the same |sum|
        return 1.0

    tested = stats.permutation_test(
        (found,),
        # the second sum is the same for all signs; scipy's tolerance is relative to both
        lambda signed, axis: np.abs(signed.sum(axis)) + np.abs(signed).sum(axis),
        permutation_type="samples",
        vectorized=True,
        alternative="greater",
        n_resamples=_SIGN_PATTERNS,
        rng=0,
    )
    return float(tested.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's step-down method, in the order given."""
    order = np.argsort(p_values)
    corrected = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        corrected[index] = running
    return corrected


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
    last, reached = float(steps[-1]), []

    def ratio_of(chosen: np.ndarray) -> np.ndarray:
        levels = np.repeat(baseline[chosen, -1].mean(1), chosen.shape[1])
        for side in (method, baseline):
            found = _reach_all(steps, side[chosen].reshape(-1, len(steps)), levels)
            reached.append(found.reshape(chosen.shape))
        return _over(*(np.minimum(each, last).mean(1) for each in reached))[None]

    (ratio,), _ = bootstrap(ratio_of, len(method))
    mine, theirs = (
        tuple(None if np.isinf(step) else float(step) for step in each[0]) for each in reached
    )
    return SeedRatio(ratio, mine, theirs, mine.count(None), theirs.count(None))


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
    last = float(steps[-1])

    def ratios(chosen: np.ndarray) -> np.ndarray:
        """The method's step, its two ratios, and the level, of the chosen seeds, [4, B]."""
        curves, references = method[chosen].mean(1), baseline[chosen].mean(1)
        levels = references[:, -1]
        mine, theirs = (_reach_all(steps, each, levels) for each in (curves, references))
        return np.stack([mine / last, _over(mine, theirs), mine, levels])

    (ratio, first, step, level), samples = bootstrap(ratios, len(method))
    never = float(np.isinf(samples[0]).mean())
    return StepRatio(ratio, first, level.value, step.value, last, never)


def bootstrap(
    statistics: Callable[[np.ndarray], np.ndarray], seeds: int
) -> tuple[list[Estimate], np.ndarray]:
    """Statistics of all seeds with percentile intervals, and of each bootstrap sample, [K, B].

    scipy's `bootstrap` interpolates between percentiles, which gives NaN where values are infinite.

    Args:
        statistics: of seeds, [B, S], to their values, [K, B], which may be infinite.
        seeds: S; of one there is no interval.
    """
    drawn = np.random.default_rng(0).choice(seeds, size=(_BOOTSTRAPS, seeds))
    values = statistics(np.vstack([np.arange(seeds), drawn]))
    lows, highs = np.quantile(values[:, 1:], (0.025, 0.975), axis=-1, method="lower")
    found = [
        Estimate(float(value), *((float(low), float(high)) if seeds > 1 else (None, None)))
        for value, low, high in zip(values[:, 0], lows, highs, strict=True)
    ]
    return found, values[:, 1:]


def _reach_all(steps: Values, curves: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """`reach` of each curve [B, E] and its level [B]; infinite where it never does."""
    reached = curves >= levels[:, None]
    after = reached.argmax(1)
    before, rows, at = np.maximum(after - 1, 0), np.arange(len(curves)), np.asarray(steps, float)
    rise = np.where(after > 0, curves[rows, after] - curves[rows, before], 1.0)
    part = np.where(after > 0, (levels - curves[rows, before]) / np.where(rise > 0, rise, 1.0), 0.0)
    found = at[before] + part * (at[after] - at[before])
    return np.where(reached.any(1), found, np.inf)


def _over(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """mine / theirs; 1 where both start at the level."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((mine == 0) & (theirs == 0), 1.0, mine / theirs)


def area(steps: Values, values: Values) -> float:
    """The mean height of a curve: its area by trapezoids over its length."""
    width = float(steps[-1] - steps[0])
    if width == 0:
        return float(values[-1])
    return float(np.trapezoid(values, steps)) / width

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
    patterns are tried, beyond that 20,000 seeded draws, the observed pattern counted in.
    """
    found = np.asarray(differences, dtype=float)
    if found.size == 0:
        raise ValueError("a test needs at least one difference")
    observed = abs(found.sum()) * (1 - 1e-12)
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

    def reached(chosen: np.ndarray) -> tuple[float, float, float]:
        curve, reference = method[chosen].mean(0), baseline[chosen].mean(0)
        level = float(reference[-1])
        mine, theirs = reach(steps, curve, level), reach(steps, reference, level)
        return (np.inf if mine is None else mine), (theirs or 0.0), level

    seeds = np.arange(len(method))
    step, first, level = reached(seeds)
    last = float(steps[-1])
    if len(seeds) == 1:
        ratio = Estimate(step / last, None, None)
        strict = Estimate(_over(step, first), None, None)
        return StepRatio(ratio, strict, level, step, last, float(np.isinf(step)))
    rng = np.random.default_rng(0)
    draws = [reached(rng.choice(seeds, size=len(seeds)))[:2] for _ in range(_BOOTSTRAPS)]
    ratios = np.sort([mine / last for mine, _ in draws])
    stricts = np.sort([_over(mine, theirs) for mine, theirs in draws])
    return StepRatio(
        Estimate(step / last, *_percentiles(ratios)),
        Estimate(_over(step, first), *_percentiles(stricts)),
        level,
        step,
        last,
        float(np.isinf(ratios).mean()),
    )


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

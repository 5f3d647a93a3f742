"""95 % intervals of an evaluation, and the paired comparison of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap

Z = 1.959963984540054
"""The normal's 97.5 % quantile."""
_SAMPLES = 4000
_AT_ONCE = 4_000_000
"""Values of a part drawn at once."""


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), as scipy has it.

    Raises:
        ValueError: n is 0.
    """
    if n == 0:
        raise ValueError("a proportion of nothing has no interval")
    found = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean; (value, value) of a single one.

    Raises:
        ValueError: there are no values.
    """
    return bootstrap_combined([values], lambda means: means[0], seed)


def bootstrap_combined(
    parts: Sequence[Sequence[float]], combine: Callable[[list[np.ndarray]], Any], seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a function of several means, each part drawn anew by itself.

    Args:
        parts: the values of each part.
        combine: from the parts' means, each [samples], to the statistic, [samples].

    Raises:
        ValueError: a part is empty.
    """
    if not all(map(len, parts)):
        raise ValueError("a mean of nothing has no interval")
    found = bootstrap(
        [part if len(part) > 1 else [*part, *part] for part in parts],  # scipy wants two values
        lambda *drawn, axis: combine([values.mean(axis) for values in drawn]),
        n_resamples=_SAMPLES,
        batch=max(1, _AT_ONCE // max(map(len, parts))),
        vectorized=True,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class PairedDifference:
    """The paired comparison of two evaluations on the same items."""

    n: int
    """Items that both have."""
    difference: float
    """Share correct in the second minus that in the first."""
    low: float
    """95 % interval (Agresti and Min 2005: half a pair added to each kind of disagreement)."""
    high: float
    """Its other end."""
    only_first: int
    """Items that only the first has right."""
    only_second: int
    """Items that only the second has right."""
    p: float
    """McNemar's exact test: are the disagreements a fair coin's?"""


def paired(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """Compare two evaluations item by item.

    Raises:
        ValueError: there are no items.
    """
    if not first:
        raise ValueError("there are no items in common")
    pairs = list(zip(first, second, strict=True))
    lost = sum(a and not b for a, b in pairs)
    won = sum(b and not a for a, b in pairs)
    n = len(pairs)
    wider, plus, minus = n + 2, won + 0.5, lost + 0.5
    centre = (plus - minus) / wider
    spread = math.sqrt(max(0.0, plus + minus - (plus - minus) ** 2 / wider)) / wider
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return PairedDifference(
        n=n,
        difference=(won - lost) / n,
        low=max(-1.0, centre - Z * spread),
        high=min(1.0, centre + Z * spread),
        only_first=lost,
        only_second=won,
        p=float(p),
    )

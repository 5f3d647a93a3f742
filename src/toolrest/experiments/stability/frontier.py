"""Which learning rates a method withstands: statistics of collapses. Pure functions on arrays.

Every array is [S, R]: a row a seed, a column a learning rate, ascending.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import isotonic_regression

from toolrest.experiments.statistics import Estimate, bootstrap

HALF = 0.5
_ROUNDING = 1e-9
"""Means of shares, which are whole numbers of runs, can be so much under a half that they are."""


def half_rate(rates: Sequence[float], collapsed: np.ndarray) -> Estimate:
    """lr50: the learning rate at which half of the runs collapse.

    The shares of collapsed runs are made to rise with the rate (isotonic regression, Barlow et al.
    1972), and lr50 lies on the straight lines between them over the rate's logarithm. Its interval:
    percentiles of 4,000 bootstrap samples of seeds, whole rows.

    Args:
        rates: the learning rates, [R].
        collapsed: whether each run did, bool.

    Returns:
        0 where half of them collapse at the lowest rate already, and infinity where fewer do at the
        greatest; so for the interval's ends.
    """
    logs = tuple(float(x) for x in np.log2(rates))

    def found(chosen: np.ndarray) -> np.ndarray:
        shares = collapsed[chosen].mean(1)
        return np.array([[_crossing(tuple(map(float, row)), logs) for row in shares]])

    (estimate,), _ = bootstrap(found, len(collapsed))
    return estimate


@lru_cache(maxsize=65536)
def _crossing(shares: tuple[float, ...], logs: tuple[float, ...]) -> float:
    rising = isotonic_regression(shares).x
    reached = rising > HALF - _ROUNDING
    at = int(np.argmax(reached))
    if not reached[at]:
        return np.inf
    if at == 0:
        return 0.0
    part = (HALF - rising[at - 1]) / (rising[at] - rising[at - 1])
    return float(2 ** (logs[at - 1] + part * (logs[at] - logs[at - 1])))


def doublings(rates: Sequence[float], collapsed: np.ndarray) -> np.ndarray:
    """Of each seed, how many doublings of the lowest rate its runs withstand, [S].

    The area under the share of runs that last, by trapezoids over log2 of the rate. Its mean over
    seeds is log2(lr50 / lowest rate) by Spearman and Karber's estimator where no run collapses at
    the lowest rate and all do at the greatest; elsewhere it is cut to the rates that were tried,
    for all methods alike.
    """
    lasts = 1.0 - np.asarray(collapsed, float)
    return np.asarray(np.trapezoid(lasts, np.log2(np.asarray(rates, float)), axis=1))


def at_best_rate(scores: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Each seed's score at the rate that is best without it, and which rate that is, by its index.

    A rate that were chosen by the seeds that it is judged on would look better than it is. Of one
    seed alone it is: the best of its own. Of equal rates the lowest is chosen.

    Args:
        scores: of the policy at the end of each run.

    Returns:
        ([S], S indices of rates).
    """
    seeds = len(scores)
    chosen = [
        int(np.argmax((scores if seeds == 1 else np.delete(scores, seed, axis=0)).mean(0)))
        for seed in range(seeds)
    ]
    return scores[np.arange(seeds), chosen], chosen

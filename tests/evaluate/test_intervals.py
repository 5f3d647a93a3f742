import random

import numpy as np
import pytest

from toolrest.evaluate.intervals import bootstrap_combined, bootstrap_mean, paired, wilson


def test_wilson_by_hand():
    """8 of 10: centre (0.8 + 1.9207 / 10) / 1.38415, half width 0.2269 (Wilson 1927)."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    with pytest.raises(ValueError):
        wilson(0, 0)


def test_bootstrap_covers_a_known_mean():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_mean(generator.exponential(2.0, 80).tolist(), seed=trial)
        covered += low <= 2.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_mean_of_parts_weighs_them_alike():
    parts = [[1.0] * 10, [0.0] * 1000]
    low, high = bootstrap_combined(parts, lambda means: (means[0] + means[1]) / 2)
    assert low == high == 0.5


def test_an_empty_part_is_an_error():
    with pytest.raises(ValueError):
        bootstrap_mean([])


def test_mcnemar_by_hand():
    """Six disagreements, all one way: two-sided p is 2 / 2^6."""
    found = paired([False] * 6 + [True] * 4, [True] * 10)
    assert (found.only_first, found.only_second, found.n) == (0, 6, 10)
    assert found.p == pytest.approx(2 / 64)
    assert found.difference == pytest.approx(0.6)
    assert found.low < 0.6 < found.high


def test_paired_error_rate_and_coverage():
    """Two policies that are alike differ significantly in at most 5 %; the interval holds 0."""
    rng = random.Random(0)
    wrong = missed = 0
    for _ in range(300):
        shared = [rng.random() < 0.6 for _ in range(80)]
        sides = [[s if rng.random() < 0.8 else rng.random() < 0.6 for s in shared] for _ in "ab"]
        found = paired(*sides)
        wrong += found.p < 0.05
        missed += not found.low <= 0 <= found.high
    assert wrong / 300 <= 0.05
    assert missed / 300 <= 0.09


def test_nothing_in_common_is_an_error():
    with pytest.raises(ValueError):
        paired([], [])

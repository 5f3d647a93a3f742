"""Numbers worked out by hand, and intervals and tests on made-up data of known truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.experiments.statistics import (
    SHARE,
    SHARES_APART,
    area,
    holm,
    mean_interval,
    seed_ratio,
    sign_flip_test,
    step_ratio,
)


def test_an_interval_of_a_share_ends_at_its_bounds():
    found = mean_interval([0.98, 0.99, 1.0, 1.0], SHARE)
    assert found.high == 1.0 and 0.97 < found.low < found.value < 1.0
    free = mean_interval([0.98, 0.99, 1.0, 1.0])
    assert free.high > 1.0 and free.low == found.low
    assert mean_interval([0.0, 0.0, 0.1], SHARE).low == 0.0
    assert mean_interval([-0.9, -1.0], SHARES_APART).low == -1.0


def test_mean_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, t_{2, 0.975} = 4.302653, half = 4.302653 / sqrt 3."""
    found = mean_interval([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - 2.0 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert 2.0 - found.low == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_one_seed_has_no_interval():
    found = mean_interval([0.5])
    assert (found.value, found.low, found.high) == (0.5, None, None)


def test_nothing_has_no_mean():
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])
    with pytest.raises(ValueError, match="at least one"):
        sign_flip_test([])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """8 seeds, normal, 4,000 repeats: 95 % within three standard errors (0.0034 each)."""
    rng = np.random.default_rng(1)
    samples = rng.normal(0.7, 0.03, size=(4000, 8))
    covered = [found.low <= 0.7 <= found.high for found in map(mean_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.0105)


@pytest.mark.slow
def test_the_paired_test_rejects_a_true_null_as_seldom_as_it_says():
    """Symmetric differences of no mean: p <= 0.05 in at most 5 % of 3,000 repeats (se 0.004)."""
    rng = np.random.default_rng(2)
    found = np.array([sign_flip_test(row) for row in rng.standard_t(3, size=(3000, 8))])
    assert (found <= 0.05).mean() == pytest.approx(0.047, abs=0.012)  # 12 of 256 patterns
    assert (found <= 0.5).mean() == pytest.approx(0.5, abs=0.03)


def test_the_paired_test_sees_a_difference():
    rng = np.random.default_rng(3)
    found = [sign_flip_test(row) for row in rng.normal(0.05, 0.03, size=(200, 8))]
    assert np.mean(np.array(found) <= 0.05) > 0.9


def test_sign_flips_by_hand():
    """1, 2, 3: only the two extreme of 8 patterns reach 6."""
    assert sign_flip_test([1.0, 2.0, 3.0]) == 0.25
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert sign_flip_test([1.0, -1.0]) == 1.0


def test_sums_that_differ_by_rounding_alone_are_equal():
    """0.1 + 0.1 + 0.1 - 0.3 is 5.6e-17 in floats, 0 on paper: every pattern reaches it."""
    assert sign_flip_test([0.1, 0.1, 0.1, -0.3]) == 1.0
    assert sign_flip_test([0.1, 0.2, -0.3]) == 1.0


def test_many_seeds_are_drawn_and_the_observed_pattern_counts():
    """All 20 of one sign: 2 of 2^20 patterns; drawn, no p is 0."""
    assert 0 < sign_flip_test([1.0] * 20) < 0.001


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=10))
def test_the_test_is_two_sided(differences):
    found = sign_flip_test(differences)
    assert 0 < found <= 1
    assert found == sign_flip_test([-d for d in differences])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def reach(steps, values, level):
    """The step at which one curve reaches a level first, by straight lines; None: never."""
    if values[0] >= level:
        return float(steps[0])
    for index in range(1, len(steps)):
        before, after = values[index - 1], values[index]
        if after >= level:
            part = (level - before) / (after - before)
            return float(steps[index - 1] + part * (steps[index] - steps[index - 1]))
    return None


def test_reach_by_hand():
    steps, values = [0, 10, 20, 30], [0.4, 0.6, 0.5, 0.8]
    assert reach(steps, values, 0.3) == 0
    assert reach(steps, values, 0.5) == 5
    assert reach(steps, values, 0.6) == 10
    assert reach(steps, values, 0.7) == pytest.approx(20 + 10 * 2 / 3)
    assert reach(steps, values, 0.9) is None


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.floats(0, 1),
)
def test_a_level_is_reached_when_the_best_so_far_reaches_it(values, level):
    steps = list(range(len(values)))
    found = reach(steps, values, level)
    best = np.maximum.accumulate(values)
    assert (found is None) == (best[-1] < level)
    if found is not None:
        assert best[min(math.floor(found) + 1, len(values) - 1)] >= level


def test_step_ratio_by_hand():
    """The method's mean reaches 0.8 at 10 of 20 steps."""
    steps = [0, 10, 20]
    baseline = np.array([[0.4, 0.6, 0.8]] * 3)
    method = np.array([[0.4, 0.8, 0.9]] * 3)
    found = step_ratio(steps, method, baseline)
    assert (found.ratio.value, found.ratio.low, found.ratio.high) == (0.5, 0.5, 0.5)
    assert (found.level, found.never) == (pytest.approx(0.8), 0)
    assert (found.step, found.baseline_step) == (10, 20)


def test_the_stricter_ratio_counts_from_where_the_baseline_got_there_first():
    """The baseline is at its final 0.6 at 10 of 20 steps already; the method at 5."""
    steps = [0, 5, 10, 20]
    baseline = np.array([[0.2, 0.4, 0.6, 0.6]] * 2)
    method = np.array([[0.2, 0.6, 0.7, 0.7]] * 2)
    found = step_ratio(steps, method, baseline)
    assert (found.ratio.value, found.first.value) == (0.25, 0.5)
    assert (found.first.low, found.first.high) == (0.5, 0.5)


def test_a_method_that_never_gets_there_is_infinite():
    found = step_ratio([0, 1], np.array([[0.1, 0.2]] * 2), np.array([[0.1, 0.9]] * 2))
    assert math.isinf(found.ratio.value) and math.isinf(found.ratio.high)
    assert found.never == 1


def test_the_baseline_s_ratio_to_itself_is_one():
    curves = np.sort(np.random.default_rng(4).uniform(size=(6, 5)), axis=1)
    found = step_ratio([0, 1, 2, 3, 4], curves, curves)
    assert (found.first.value, found.first.low, found.first.high) == (1, 1, 1)
    assert (found.ratio.value, found.ratio.low, found.ratio.high) == (1, 1, 1)


def test_the_ratio_s_interval_covers_a_known_ratio():
    """Straight curves whose slopes vary by seed; the method's slope is twice the baseline's: it
    reaches the baseline's end at half the steps. 150 repeats of 8 seeds.
    """
    rng = np.random.default_rng(5)
    steps = np.arange(0, 41, 4)
    covered = []
    for _ in range(150):
        slopes = rng.normal(0.01, 0.001, size=8)
        noise = rng.normal(0, 0.01, size=(2, 8, len(steps)))
        baseline = slopes[:, None] * steps + noise[0]
        method = 2 * slopes[:, None] * steps + noise[1]
        found = step_ratio(steps, method, baseline).ratio
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.85 <= np.mean(covered) <= 1.0


def test_area_by_hand():
    assert area([0, 10, 30], [0.0, 1.0, 1.0]) == pytest.approx(25 / 30)
    assert area([5], [0.3]) == 0.3


def test_seed_ratio_by_hand():
    """The baseline ends at 0.4 and 0.8: level 0.6, reached by its second seed alone, at 5 of 10;
    cut off at 10 the mean is 7.5. The method's seeds are there at 6 and never: (6 + 10) / 2 = 8.
    Samples of one seed twice: 4 / 10 (level 0.4, the first), 10 / 10 (0.8, the second).
    """
    baseline = np.array([[0.2, 0.4], [0.4, 0.8]])
    method = np.array([[0.0, 1.0], [0.0, 0.5]])
    found = seed_ratio([0, 10], method, baseline)
    assert found.method == (pytest.approx(6), None)
    assert found.baseline == (None, pytest.approx(5))
    assert (found.never, found.baseline_never) == (1, 1)
    assert found.ratio.value == pytest.approx(8 / 7.5)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((0.4, 8 / 7.5))


def test_one_seed_has_a_seed_ratio_and_no_interval():
    found = seed_ratio([0, 10], np.array([[0.0, 1.0]]), np.array([[0.0, 0.5]]))
    assert found.ratio.value == 0.5
    assert found.ratio.low is found.ratio.high is None


def noisy_curves(rng, speed=1.0, seeds=8):
    """Curves that flatten out, with noise of a seed and of 128 held-out samples."""
    steps = np.arange(0, 25, 3)
    mean = 0.43 + 0.37 * (1 - np.exp(-speed * steps / 8))
    own = rng.normal(0, 0.03, (seeds, 1)) * steps / 24
    return mean + own + rng.normal(0, 0.03, (seeds, len(steps)))


def test_the_seed_ratio_of_a_method_that_is_the_baseline_is_one():
    """150 repeats of 8 seeds: the median is 1, and an interval leaves 1 out in about 5 %."""
    rng = np.random.default_rng(6)
    steps = np.arange(0, 25, 3)
    found = [seed_ratio(steps, noisy_curves(rng), noisy_curves(rng)).ratio for _ in range(150)]
    assert np.median([each.value for each in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([not each.low <= 1 <= each.high for each in found]) <= 0.1


def test_the_seed_ratio_sees_a_method_that_is_twice_as_fast():
    """In 4 of 5 comparisons of 8 seeds."""
    rng = np.random.default_rng(7)
    steps = np.arange(0, 25, 3)
    found = [seed_ratio(steps, noisy_curves(rng, 2), noisy_curves(rng)).ratio for _ in range(50)]
    assert np.mean([each.high < 1 for each in found]) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize(("seeds", "ratio", "first"), [(3, 0.25, 0.06), (8, 0.08, 0.02)])
def test_how_often_a_method_that_is_the_baseline_seems_faster(seeds, ratio, first):
    """The share of 300 comparisons whose interval lies below 1; 0.025 would be right.

    `ratio` is over the baseline's last step, and the baseline can be at its final level before
    that, so it favours the method; with three seeds a bootstrap is too narrow besides.
    """
    rng = np.random.default_rng(seeds)
    steps = np.arange(0, 25, 3)
    pairs = [[noisy_curves(rng, seeds=seeds) for _ in range(2)] for _ in range(300)]
    found = [step_ratio(steps, *pair) for pair in pairs]
    assert np.mean([each.ratio.high < 1 for each in found]) == pytest.approx(ratio, abs=0.06)
    assert np.mean([each.first.high < 1 for each in found]) == pytest.approx(first, abs=0.03)


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 1000))
def test_many_curves_at_once_are_reached_as_one_by_one(seeds, points, seed):
    rng = np.random.default_rng(seed)
    curves = rng.integers(0, 5, size=(2, seeds, points)) / 4  # ties and plateaus
    steps = np.arange(points) * 3
    found = seed_ratio(steps, *curves)
    level = float(curves[1][:, -1].mean())
    for side, each in zip(curves, (found.method, found.baseline), strict=True):
        assert list(each) == [reach(steps, curve, level) for curve in side]

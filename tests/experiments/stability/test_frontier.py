"""lr50, doublings and scores at the best rate, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.experiments.stability.frontier import at_best_rate, doublings, half_rate

RATES = (1e-4, 2e-4, 4e-4, 8e-4)


def runs(*rows):
    return np.array([[mark == "x" for mark in row] for row in rows])


def test_half_collapse_between_two_rates_on_the_logarithm():
    found = half_rate(RATES, runs("--xx", "--xx"))  # 0, 0, 1, 1: half-way from 2e-4 to 4e-4
    assert found.value == pytest.approx(2e-4 * math.sqrt(2))
    assert found.low == found.high == pytest.approx(found.value)  # every bootstrap sample is that
    found = half_rate(RATES, runs("--xx", "---x", "-xxx", "---x"))  # 0, 1/4, 1/2, 1
    assert found.value == pytest.approx(4e-4)


def test_shares_that_fall_are_made_to_rise():
    # 0, 1, 0, 1: the middle two become 1/2 each, so that half is reached at the second rate
    found = half_rate(RATES, runs("-x-x", "-x-x"))
    assert found.value == pytest.approx(2e-4)


def test_half_of_the_runs_is_half_but_for_rounding():
    # 2/3, 2/3, 1/3, 1/3: all become 1/2, in floats a little less
    falling = half_rate(RATES, runs("xx--", "xx--", "--xx"))
    assert falling.value == 0.0
    # 0, 2/3, 2/3, 1/3, 1/3: half is reached at the second rate
    assert half_rate((5e-5, *RATES), runs("-xx--", "-xx--", "---xx")).value == pytest.approx(1e-4)


def test_what_lies_outside_the_rates_has_no_number():
    assert half_rate(RATES, runs("----", "---x", "----")).value == math.inf
    assert half_rate(RATES, runs("xxxx", "-xxx")).value == 0.0
    one = half_rate(RATES, runs("--xx"))
    assert one.low is None and one.high is None


def test_doublings_are_the_area_under_the_runs_that_last():
    # lasts 1, 1, 0, 0 at log2 of 0, 1, 2, 3: 1 + 1/2 + 0
    assert doublings(RATES, runs("--xx", "----", "xxxx", "x---")).tolist() == [1.5, 3.0, 0.0, 2.5]
    assert doublings((1e-4, 4e-4), runs("-x")).tolist() == [1.0]  # two doublings apart


@given(st.integers(1, 6), st.integers(2, 6), st.data())
def test_doublings_are_the_logarithm_of_lr50_by_spearman_and_karber(seeds, rates, data):
    """Where nothing collapses at the lowest rate and all does at the greatest:
    sum (p[i+1] - p[i]) (x[i] + x[i+1]) / 2."""
    marks = data.draw(
        st.lists(
            st.lists(st.booleans(), min_size=rates, max_size=rates), min_size=seeds, max_size=seeds
        )
    )
    collapsed = np.array(marks)
    collapsed[:, 0], collapsed[:, -1] = False, True
    tried = [1e-5 * 2**k for k in range(rates)]
    shares, x = collapsed.mean(0), np.arange(rates, dtype=float)
    karber = sum((shares[i + 1] - shares[i]) * (x[i] + x[i + 1]) / 2 for i in range(rates - 1))
    assert doublings(tried, collapsed).mean() == pytest.approx(karber)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=5))
def test_more_collapses_lower_both_figures(marks):
    collapsed = np.array(marks)
    more = collapsed.copy()
    more[0] = True
    assert (doublings(RATES, more) <= doublings(RATES, collapsed)).all()
    assert half_rate(RATES, more).value <= half_rate(RATES, collapsed).value


def test_the_rate_is_chosen_by_the_other_seeds():
    scores = np.array([[0.9, 0.1, 0.2], [0.3, 0.8, 0.2], [0.3, 0.9, 0.2]])
    found, chosen = at_best_rate(scores)
    # without the first the means are .3, .85, .2; without either other one .6, .5, .2
    assert chosen == [1, 0, 0] and found.tolist() == [0.1, 0.3, 0.3]
    found, chosen = at_best_rate(scores[:1])
    assert chosen == [0] and found.tolist() == [0.9]
    assert at_best_rate(np.array([[0.5, 0.5], [0.5, 0.5]]))[1] == [0, 0]  # the lowest of equals

"""Clipping ranges by region, by hand and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.clipping import LEAST, MOST, clip_factors
from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, Statistic

F, N, P, T, OTHER = (
    Region.FORMAT,
    Region.NAME,
    Region.PARAMETERS,
    Region.REASONING,
    Region.OTHER,
)


def measured(means):
    """{region: (mean, tokens)}"""
    total, count = torch.zeros(len(Region)).double(), torch.zeros(len(Region)).double()
    for region, (mean, tokens) in means.items():
        total[region], count[region] = mean * tokens, tokens
    return RegionEntropy(total, count)


def nats(root):
    """The entropy whose sqrt(1 - exp(-H)) is `root`."""
    return -math.log(1 - root**2)


def test_the_mean_token_has_the_range_of_the_recipe_by_hand():
    """Roots 0.5 of 30 tokens and 0.9 of 10: c = 40 / (15 + 9)."""
    found = clip_factors(measured({F: (nats(0.5), 30), T: (nats(0.9), 10)}))
    assert found[F] == pytest.approx(0.5 * 40 / 24)
    assert found[T] == pytest.approx(0.9 * 40 / 24)
    assert found[N] == found[P] == found[OTHER] == 1  # without tokens


def test_what_a_bound_takes_the_others_give_by_hand():
    """Roots 0.1 of 10 tokens and 0.9 of 30: the first has 0.5, so the second (40 - 5) / 30."""
    found = clip_factors(measured({F: (nats(0.1), 10), T: (nats(0.9), 30)}))
    assert found[F] == pytest.approx(0.5)
    assert found[T] == pytest.approx(35 / 30)


def test_both_bounds_by_hand():
    """The roots of 2 and of 1 token are 3 and 30 times that of the 18 others. They may have 2 each,
    which leaves (21 - 6) / 18 for the others, more than a third of 2.
    """
    means = {F: (nats(0.02), 18), P: (nats(0.06), 2), T: (nats(0.6), 1)}
    found = clip_factors(measured(means))
    assert found[P] == found[T] == MOST
    assert found[F] == pytest.approx((21 - 6) / 18)


def test_a_collision_stands_under_the_root_itself():
    """Roots 0.5 and 0.9 again, of 1 - sum p^2 = 0.25 and 0.81."""
    found = clip_factors(measured({F: (0.25, 30), T: (0.81, 10)}), Statistic.COLLISION)
    assert found[[F, T]].tolist() == pytest.approx([20 / 24, 36 / 24])


def test_other_text_has_the_recipe_s_range_and_moves_none():
    alone = clip_factors(measured({F: (0.1, 5), T: (0.8, 5)}))
    beside = clip_factors(measured({F: (0.1, 5), T: (0.8, 5), OTHER: (3.0, 90)}))
    assert torch.equal(alone, beside) and beside[OTHER] == 1


@pytest.mark.parametrize("means", [{}, {OTHER: (2.0, 3)}, {F: (0.4, 7)}, {F: (0, 3), T: (0, 9)}])
def test_without_a_difference_all_have_the_recipe_s_range(means):
    assert clip_factors(measured(means)).tolist() == pytest.approx([1.0] * len(Region))


@given(
    st.lists(
        st.tuples(st.floats(0, 8), st.integers(1, 10_000)), min_size=1, max_size=len(Region) - 1
    )
)
def test_the_mean_is_kept_within_bounds_and_in_the_order_of_entropy(values):
    regions = [region for region in Region if region != OTHER][: len(values)]
    found = clip_factors(measured(dict(zip(regions, values, strict=True))))[regions]
    counts = torch.tensor([tokens for _, tokens in values]).double()
    assert (found * counts).sum() / counts.sum() == pytest.approx(1, rel=1e-9)
    assert found.min() >= LEAST and found.max() <= MOST
    order = torch.tensor([mean for mean, _ in values]).argsort(stable=True)
    assert (found[order].diff() >= -1e-12).all()

"""Where the greatest share of a batch's values begins."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.weights.shares import top_threshold


def test_between_two_values_it_is_interpolated():
    """0 to 6: the quantile 0.8 is at place 4.8."""
    assert top_threshold(torch.tensor([3, 0, 6, 1, 5, 2, 4]), 0.2).item() == pytest.approx(4.8)
    assert top_threshold(torch.tensor([7.0]), 0.2).item() == 7.0
    assert top_threshold(torch.tensor([2.0, 1.0]), 1.0).item() == 1.0


@given(
    st.lists(st.floats(0, 20, width=32), min_size=1, max_size=40),
    st.floats(0.01, 1),
)
def test_it_is_torch_s_quantile(values, share):
    given_ = torch.tensor(values)
    expected = torch.quantile(given_, 1 - share).item()
    assert top_threshold(given_, share).item() == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_more_values_than_torch_s_quantile_takes():
    values = torch.arange(16_777_300, dtype=torch.float32).flip(0)
    assert top_threshold(values, 0.25).item() == pytest.approx(0.75 * 16_777_299, abs=2)

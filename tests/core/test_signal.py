"""The weights of regions of the greatest gain, by hand and against a search."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.signal import best_region_weights


def gain(weights: torch.Tensor, noise: torch.Tensor, signal: torch.Tensor) -> float:
    return float(weights @ signal / (weights @ noise @ weights).sqrt())


def matrix(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_independent_regions_weigh_signal_over_noise():
    """Q = diag(1, 4), c = (1, 2): w ~ (1, 1/2), scaled to w' Q w = 5, so times sqrt(5 / 2)."""
    found = best_region_weights(matrix([[1, 0], [0, 4]]), torch.tensor([1.0, 2.0]))
    assert found.tolist() == pytest.approx([2.5**0.5, 2.5**0.5 / 2])


def test_a_region_that_follows_another_takes_its_noise_off_but_never_below_zero():
    """Q = [[1, .8], [.8, 1]], c = (1, 0): Q^-1 c ~ (1, -.8); without negative weights (1, 0)."""
    found = best_region_weights(matrix([[1, 0.8], [0.8, 1]]), torch.tensor([1.0, 0.0]))
    assert found.tolist() == pytest.approx([3.6**0.5, 0.0])


def test_equal_weights_where_the_signal_is_as_the_noise():
    noise = matrix([[2, 0.5], [0.5, 1]])
    assert best_region_weights(noise, noise.sum(1)).tolist() == pytest.approx([1, 1])


def test_an_absent_region_and_a_target_that_nothing_improves_weigh_one():
    noise = matrix([[1, 0, 0], [0, 0, 0], [0, 0, 4]])
    assert best_region_weights(noise, torch.tensor([1.0, 0.0, 2.0]))[1] == 1
    assert best_region_weights(noise, torch.tensor([-1.0, 0.0, -2.0])).tolist() == [1, 1, 1]
    assert best_region_weights(torch.zeros(2, 2), torch.zeros(2)).tolist() == [1, 1]


def test_shrinkage_goes_from_the_best_weights_to_equal_ones():
    noise, signal = matrix([[1, 0], [0, 4]]), torch.tensor([1.0, 2.0])
    spreads = [
        float(found.max() - found.min())
        for found in (best_region_weights(noise, signal, s) for s in (0, 0.5, 2, 1e9))
    ]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] == pytest.approx(0, abs=1e-6)


numbers = st.floats(-2, 2).map(lambda value: round(value, 3))


@given(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=5, max_size=5), st.data())
def test_no_other_weights_gain_more(rows: list[list[float]], data: st.DataObject):
    spread = torch.tensor(rows, dtype=torch.float64)
    noise = spread.T @ spread + 0.1 * torch.eye(4, dtype=torch.float64)
    signal = torch.tensor(data.draw(st.lists(numbers, min_size=4, max_size=4)), dtype=torch.float64)
    found = best_region_weights(noise, signal)
    assert (found >= 0).all()
    assert float(found @ noise @ found) == pytest.approx(float(noise.sum()))
    if (signal > 0).any():
        others = torch.rand(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        others = torch.cat((others, torch.eye(4, dtype=torch.float64)))
        best = max(gain(other, noise, signal) for other in others)
        assert gain(found, noise, signal) >= best - 1e-6


@pytest.mark.parametrize(
    ("noise", "signal", "shrinkage"),
    [
        (torch.eye(2), torch.ones(3), 0.0),
        (torch.eye(2) * float("nan"), torch.ones(2), 0.0),
        (torch.eye(2), torch.ones(2), -1.0),
    ],
)
def test_what_cannot_be_weighed_is_refused(
    noise: torch.Tensor, signal: torch.Tensor, shrinkage: float
):
    with pytest.raises(ValueError, match="need"):
        best_region_weights(noise, signal, shrinkage)

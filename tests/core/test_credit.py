import pytest
import torch

from toolrest.core.credit import apply, group_normalise

pytestmark = pytest.mark.stored_numbers


def test_group_normalise_by_hand():
    """Two groups: (1, 3) has mean 2 and standard deviation sqrt 2; (5, 5) has none."""
    advantages = group_normalise(torch.tensor([1.0, 3.0, 5.0, 5.0]), 2, delta=0.0 + 1e-9)
    root = 2**-0.5
    assert advantages.tolist() == pytest.approx([-root, root, 0, 0])


def test_one_response_has_nothing_to_compare_with():
    assert group_normalise(torch.tensor([4.0]), 1).tolist() == [0.0]


def test_a_split_group_is_an_error():
    with pytest.raises(ValueError, match="multiple of the group size"):
        group_normalise(torch.ones(3), 2)


def test_apply_by_hand():
    weights = torch.tensor([[0.5, 1.5], [2.0, 0.0]])
    assert apply(weights, torch.tensor([2.0, -1.0])).tolist() == [[1.0, 3.0], [-2.0, -0.0]]


def test_uniform_weights_change_nothing():
    advantages = torch.randn(8)
    assert torch.equal(apply(torch.ones(8, 5), advantages), advantages.unsqueeze(1).expand(8, 5))

"""Borders of the advantages by hand: deltas, scales, groups of one, what is refused."""

import math

import pytest
import torch

from toolrest.core.credit import Decided, group_normalise, reward_to_go

pytestmark = pytest.mark.stored_numbers
ROOT = math.sqrt(2)


def test_the_default_delta_is_a_ten_thousandth():
    """Two rewards 0.0002 apart: a deviation of 0.0001 sqrt 2 beside a delta of 0.0001."""
    found = group_normalise(torch.tensor([0.0, 2e-4]), 2)
    assert found.tolist() == pytest.approx([-1 / (ROOT + 1), 1 / (ROOT + 1)], rel=1e-5)
    to_go = reward_to_go(torch.tensor([0.0, 2e-4]), Decided([[], []], torch.zeros(2, 1).long()), 2)
    assert to_go.flatten().tolist() == pytest.approx([-1 / (ROOT + 1), 1 / (ROOT + 1)], rel=1e-5)


@pytest.mark.parametrize("normalise", ["plain", "to_go"])
@pytest.mark.parametrize(
    ("shape", "group_size"), [((4, 1), 2), ((4,), 0), ((4,), -2), ((4,), 3), ((2,), 4)]
)
def test_what_is_no_batch_of_groups_is_refused(normalise, shape, group_size):
    rewards = torch.zeros(shape)
    with pytest.raises(ValueError, match="multiple of the group size") as caught:
        if normalise == "plain":
            group_normalise(rewards, group_size)
        else:
            num_decided = torch.zeros(len(rewards), 1).long()
            reward_to_go(rewards, Decided([[]] * len(rewards), num_decided), group_size)
    assert str(tuple(shape)) in str(caught.value)


def test_groups_are_apart():
    found = group_normalise(torch.tensor([0.0, 2.0, 10.0, 14.0]), 2, delta=0.0)
    assert found.tolist() == pytest.approx([-1 / ROOT, 1 / ROOT] * 2)
    num_decided = torch.tensor([[0, 1]] * 4)
    to_go = reward_to_go(
        torch.tensor([0.0, 2.0, 10.0, 14.0]),
        Decided([[1.0], [3.0], [4.0], [4.0]], num_decided),
        2,
        scale="none",
    )
    # undecided at stage 1: -1 and -1; 6 and 10
    assert to_go.tolist() == [[-1.0, 0.0], [1.0, 0.0], [-2.0, -2.0], [2.0, 2.0]]


def test_the_batch_s_scale_is_that_of_all_rewards():
    """Rewards 0, 2, 4, 10: mean 4, sum of squares 56, deviation sqrt(56 / 3)."""
    rewards = torch.tensor([0.0, 2.0, 4.0, 10.0])
    num_decided = torch.zeros(4, 1).long()
    found = reward_to_go(rewards, Decided([[]] * 4, num_decided), 2, scale="batch", delta=0.5)
    sigma = math.sqrt(56 / 3) + 0.5
    assert found.flatten().tolist() == pytest.approx([-1 / sigma, 1 / sigma, -3 / sigma, 3 / sigma])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_response_alone_has_nothing_to_compare_with(scale):
    found = reward_to_go(
        torch.tensor([3.0]), Decided([[1.0]], torch.tensor([[0, 1]])), 1, scale=scale
    )
    assert found.tolist() == [[0.0, 0.0]]


def test_the_scale_of_each_group_is_its_greatest_spread():
    """Group 1: potentials spread by 2 and 6 over sqrt 2; group 2: by 4 and 1."""
    rewards = torch.tensor([0.0, 2.0, 0.0, 4.0])
    potentials = [[4.0], [0.0], [0.0], [3.0]]
    num_decided = torch.tensor([[0, 1]] * 4)
    found = reward_to_go(rewards, Decided(potentials, num_decided), 2, delta=0.0)
    first, second = 6 / ROOT, 4 / ROOT
    expected = [
        [-1 / first, -3 / first],
        [1 / first, 3 / first],
        [-2 / second, -0.5 / second],
        [2 / second, 0.5 / second],
    ]
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_sums_are_made_in_float64():
    """A tenth of a millionth beside a million, which float32 cannot hold."""
    rewards = torch.tensor([1e6, 1e6 + 1e-4], dtype=torch.float64)
    found = reward_to_go(rewards, Decided([[], []], torch.zeros(2, 1).long()), 2, scale="none")
    assert found.dtype == torch.float64
    assert found.flatten().tolist() == pytest.approx([-5e-5, 5e-5], rel=1e-3)


def test_without_decisions_of_any_response_there_is_one_stage():
    found = reward_to_go(torch.zeros(0), Decided([], torch.zeros(0, 3).long()), 2, scale="none")
    assert found.shape == (0, 3)


def test_a_discount_without_plain_rewards_by_hand():
    """G(1) = R - phi = 2 and 1; G(0) = phi + 0.5 G(1) = 2 and 2.5."""
    found = reward_to_go(
        torch.tensor([3.0, 3.0]),
        Decided([[1.0], [2.0]], torch.tensor([[0, 1], [0, 1]])),
        2,
        discount=0.5,
        scale="none",
    )
    assert found.tolist() == [[-0.25, 0.5], [0.25, -0.5]]

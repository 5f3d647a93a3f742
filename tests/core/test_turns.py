"""Turns, weights within them, and credit by turn."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.credit import reward_to_go
from toolrest.core.turns import normalise_turns, turn_decisions, turn_numbers, turn_parts


def bits(*rows):
    return torch.tensor([[each == "1" for each in row] for row in rows])


def test_turns_are_runs_of_sampled_tokens():
    found = turn_numbers(bits("11100011001", "00110011100", "00000000000"))
    assert found.tolist() == [
        [0, 0, 0, -1, -1, -1, 1, 1, -1, -1, 2],
        [-1, -1, 0, 0, -1, -1, 1, 1, 1, -1, -1],
        [-1] * 11,
    ]


def test_weights_of_each_turn_have_mean_one():
    sampled = bits("110111", "111110")
    weights = torch.tensor([[3.0, 1.0, 0.0, 0.5, 0.5, 1.0], [2.0, 0.5, 1.0, 1.0, 0.5, 0.0]])
    found = normalise_turns(weights, sampled)
    assert found[0].tolist() == pytest.approx([1.5, 0.5, 0, 0.75, 0.75, 1.5], rel=1e-6)
    assert torch.equal(found[1], weights[1])  # of one turn: bitwise as it was
    assert found.dtype == weights.dtype


@given(st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1, max_size=4), st.data())
def test_a_turn_weighs_its_number_of_tokens(rows, data):
    sampled = torch.tensor(rows)
    values = data.draw(st.lists(st.floats(0.01, 5), min_size=8, max_size=8))
    weights = torch.where(sampled, torch.tensor(values).expand(len(rows), 8), 0.0)
    found, turns = normalise_turns(weights, sampled), turn_numbers(sampled)
    for row in range(len(rows)):
        if turns[row].max() < 1:
            assert torch.equal(found[row], weights[row])
            continue
        for turn in range(int(turns[row].max()) + 1):
            own = turns[row] == turn
            assert found[row][own].sum().item() == pytest.approx(int(own.sum()), rel=1e-5)
        assert (found[row][~sampled[row]] == 0).all()


def test_a_turn_without_weight_stays_so():
    weights = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
    assert normalise_turns(weights, bits("11011")).tolist()[0] == pytest.approx([0, 0, 0, 1, 1])


def test_credit_by_turn_by_hand():
    """Two rows: 0.2 + 0.8 in two turns, and 0.5 in one."""
    sampled = bits("1101", "1100")
    found = reward_to_go(
        torch.tensor([1.0, 0.5]),
        turn_decisions([[0.2, 0.8], [0.5]], sampled),
        2,
        scale="none",
    )
    assert found[0].tolist() == pytest.approx([0.25, 0.25, 0.25, 0.15])
    assert found[1].tolist()[:2] == pytest.approx([-0.25, -0.25])


def test_a_turn_without_a_reward_is_refused():
    with pytest.raises(ValueError, match="row 0: 2 turns and 1 rewards"):
        turn_decisions([[0.2]], bits("1101"))


STOP, GO, LEFT, RIGHT = range(4)
REWARDS = {(STOP,): [0.3], (GO, LEFT): [0.1, 0.9], (GO, RIGHT): [0.1, -0.4]}


def _chances(first, second):
    go, left = torch.sigmoid(first), torch.sigmoid(second)
    return {(STOP,): 1 - go, (GO, LEFT): go * left, (GO, RIGHT): go * (1 - left)}


def _gradient(advantages, rows, first, second):
    """Sum over rows and turns of A * grad ln p, of both logits."""
    total = torch.zeros(2, dtype=torch.float64)
    for row, path in enumerate(rows):
        for turn, act in enumerate(path):
            logit = (first, second)[turn]
            up = act in (GO, LEFT)
            slope = 1 - torch.sigmoid(logit) if up else -torch.sigmoid(logit)
            total[turn] += advantages[row, turn].double() * slope.detach()
    return total / len(rows)


@pytest.mark.parametrize("size", [2, 3])
def test_credit_by_turn_is_unbiased_by_enumeration(size):
    """A policy of two turns that can stop after the first: over all groups, the mean gradient is
    (1 - 1/G) times that of the expected reward, for both turns alike; that of a mean over the rows
    that have such a turn is not."""
    first = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    second = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    chances = _chances(first, second)
    expected = sum(chance * sum(REWARDS[path]) for path, chance in chances.items())
    true = torch.stack(torch.autograd.grad(expected, (first, second)))
    chances = {path: chance.item() for path, chance in _chances(first, second).items()}
    ours, naive = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for rows in itertools.product(chances, repeat=size):
        chance = 1.0
        for path in rows:
            chance *= chances[path]
        sampled = torch.zeros(size, 3, dtype=torch.bool)
        for row, path in enumerate(rows):
            sampled[row, 0] = True
            sampled[row, 2] = len(path) > 1
        rewards = [REWARDS[path] for path in rows]
        found = reward_to_go(
            torch.tensor([sum(each) for each in rewards], dtype=torch.float64),
            turn_decisions(rewards, sampled),
            size,
            scale="none",
        )[:, [0, 2]]
        ours += chance * _gradient(found, rows, first, second)
        later = [each[1] for each in rewards if len(each) > 1]
        mean = sum(later) / max(1, len(later))
        of_turn = found.clone()
        for row, each in enumerate(rewards):
            of_turn[row, 1] = each[1] - mean if len(each) > 1 else 0.0
        naive += chance * _gradient(of_turn, rows, first, second)
    scale = 1 - 1 / size
    assert (ours / scale).tolist() == pytest.approx(true.tolist(), abs=1e-9)
    assert abs(naive[1] / scale - true[1]) > 0.01


def test_parts_by_hand():
    """An only turn is the first; tokens that were read are of no part."""
    sampled = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [0, 1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0]])
    assert turn_parts(sampled.bool()).tolist() == [
        [0, 0, -1, 1, -1, -1, 2],
        [-1, 0, 0, -1, -1, -1, -1],
        [0, -1, 2, -1, -1, -1, -1],
    ]
    assert turn_parts(torch.zeros(2, 3).bool()).tolist() == [[-1] * 3] * 2
    assert turn_parts(torch.zeros(0, 0).bool()).shape == (0, 0)

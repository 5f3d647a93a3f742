"""The loss for lost likelihood, by hand and as properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.llds import lost_likelihood


def lost(falls, mask=None, preserved=None, grad=False):
    falls = torch.tensor(falls)
    mask = torch.ones_like(falls).bool() if mask is None else torch.tensor(mask).bool()
    rows = torch.ones(len(falls), 1).bool() if preserved is None else torch.tensor(preserved)
    log_probs = (-2.0 - falls).requires_grad_(grad)
    found = lost_likelihood(log_probs, torch.full_like(falls, -2.0), mask, rows)
    if not grad:
        return found
    found.sum().backward()
    return log_probs.grad


def test_tokens_that_lose_count_where_the_action_loses_by_hand():
    """The first row loses 0.4 on the whole, the second gains 0.1, the third is as it was."""
    falls = [[0.6, -0.3, 0.1], [0.5, -0.7, 0.1], [0.5, -0.5, 0.0]]
    found = lost(falls)
    assert found[0].tolist() == pytest.approx([0.6, 0.0, 0.1])
    assert not found[1:].any()
    assert lost(falls, grad=True).tolist() == [[-1, 0, -1], [0, 0, 0], [0, 0, 0]]


def test_each_turn_has_its_own_gate_by_hand():
    """Turns of 2 and of 1 tokens with a result between: the row gains, its second turn loses."""
    found = lost([[0.2, -0.9, 5.0, 0.3]], mask=[[1, 1, 0, 1]])
    assert found[0].tolist() == pytest.approx([0, 0, 0, 0.3])
    assert lost([[0.2, -0.9, 5.0, 0.3]], mask=[[1, 1, 0, 1]], grad=True)[0, 2] == 0


def test_a_negative_advantage_is_not_preserved_by_row_or_by_token():
    falls = [[0.2, 0.3], [0.2, 0.3]]
    assert lost(falls, preserved=[[False], [True]]).tolist() == [[0, 0], pytest.approx([0.2, 0.3])]
    by_token = lost(falls, preserved=[[True, False], [False, True]])
    assert by_token[0].tolist() == pytest.approx([0.2, 0])
    assert by_token[1].tolist() == pytest.approx([0, 0.3])


@pytest.mark.parametrize("mask", [[[0, 0]], [[1, 1]]])
def test_nothing_preserved_is_no_loss(mask):
    found = lost([[0.5, 0.5]], mask=mask, preserved=[[False]], grad=True)
    assert not found.any()
    assert lost_likelihood(*[torch.zeros(2, 0)] * 2, *[torch.zeros(2, 0).bool()] * 2).shape == (
        2,
        0,
    )


@given(
    st.lists(st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_rows_are_by_themselves_and_the_loss_is_at_least_the_fall(falls, mask):
    """So that a batch may be cut. Of an action that loses, that is at least its net fall."""
    rows = [mask] * len(falls)
    found = lost(falls, rows)
    for row, fall in enumerate(falls):
        assert torch.equal(found[row], lost([fall], [mask])[0])
    assert (found >= 0).all() and not found[:, ~torch.tensor(mask)].any()
    if all(mask):
        net = torch.tensor(falls).sum(1).clamp(min=0)
        assert (found.sum(1) >= net - 1e-4).all()

"""Reward-to-go over spans: by hand, and against a policy of which everything is known."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.credit import Decided, group_normalise, reward_to_go

pytestmark = pytest.mark.stored_numbers


def num_decided(rows):
    return torch.tensor(rows)


def test_by_hand_without_scale():
    """Two responses; the first locks in 1 of its 3 before its second token, the other 2 of 2."""
    found = reward_to_go(
        torch.tensor([3.0, 2.0]),
        Decided([[1.0], [2.0]], num_decided([[0, 1], [0, 1]])),
        2,
        scale="none",
    )
    # stage 0: 3 - 2.5, 2 - 2.5; stage 1: undecided 2 and 0, mean 1
    assert found.tolist() == [[0.5, 1.0], [-0.5, -1.0]]


def test_by_hand_with_the_groups_scale():
    found = reward_to_go(
        torch.tensor([3.0, 2.0]),
        Decided([[1.0], [2.0]], num_decided([[0, 1], [0, 1]])),
        2,
        delta=0.0,
    )
    spread = 2**0.5  # of 2 and 0, greater than that of 3 and 2
    assert torch.allclose(found, torch.tensor([[0.5, 1.0], [-0.5, -1.0]]) / spread)


def test_a_response_that_decides_less_keeps_its_last_stage():
    found = reward_to_go(
        torch.tensor([4.0, 0.0]),
        Decided([[1.0, 3.0], []], num_decided([[0, 1, 2], [0, 0, 0]])),
        2,
        scale="none",
    )
    assert found.tolist() == [[2.0, 1.5, 0.5], [-2.0, -2.0, -2.0]]


def test_a_response_that_is_not_known_is_in_no_mean_by_hand():
    """The second failed: the others are as in `test_by_hand_without_scale`."""
    found = reward_to_go(
        torch.tensor([3.0, math.nan, 2.0]),
        Decided([[1.0], [7.0, 9.0], [2.0]], num_decided([[0, 1], [0, 1], [0, 1]])),
        3,
        scale="none",
    )
    assert found.tolist() == [[0.5, 1.0], [0.0, 0.0], [-0.5, -1.0]]
    none = reward_to_go(
        torch.full((2,), math.nan), Decided([[1.0], []], num_decided([[0, 1], [0, 0]])), 2
    )
    assert none.tolist() == [[0.0, 0.0], [0.0, 0.0]]


_NUMBERS = st.floats(-4, 4, width=32)


@given(
    st.lists(
        st.tuples(_NUMBERS, st.lists(_NUMBERS, max_size=3), st.booleans()), min_size=1, max_size=5
    ),
    st.sampled_from(["none", "group"]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_known_of_a_group_are_as_if_the_others_were_not_there(rows, scale, discount):
    def credit(chosen):
        width = 1 + max(len(phi) for _, phi, _ in rows)
        stages = [[min(at, len(phi)) for at in range(width)] for _, phi, _ in chosen]
        rewards = [reward if known else math.nan for reward, _, known in chosen]
        return reward_to_go(
            torch.tensor(rewards),
            Decided([phi for _, phi, _ in chosen], num_decided(stages)),
            len(chosen),
            discount=discount,
            scale=scale,
        )

    found = credit(rows)
    known = [at for at, row in enumerate(rows) if row[2]]
    assert found.isfinite().all()
    assert (found[[at for at in range(len(rows)) if at not in known]] == 0).all()
    if known:
        alone = credit([rows[at] for at in known])
        assert torch.allclose(found[known], alone, rtol=1e-4, atol=1e-5)


def test_a_discount_by_hand():
    """G_1 = (1 + 0.5 (2 + 0.5 * -1), 2 + 0.5 * -1, -1); the other has nothing but its -1 left."""
    found = reward_to_go(
        torch.tensor([4.0, 1.0]),
        Decided([[1.0, 3.0], []], num_decided([[0, 1, 2], [0, 0, 0]]), [2.0, 2.0]),
        2,
        discount=0.5,
        scale="none",
    )
    # 4 - 2 - 3 = -1 and 1 - 2 = -1 are left at the end
    assert found[0].tolist() == [(1.75 + 1) / 2, (1.5 + 1) / 2, 0.0]
    assert found[1].tolist() == [-(1.75 + 1) / 2] * 3


def test_without_a_discount_what_a_plain_reply_earns_does_not_matter():
    rewards = torch.randn(6, generator=torch.Generator().manual_seed(1))
    potentials = [[0.5], [0.2, 0.9], [], [1.0], [], [0.1, 0.2]]
    stage = num_decided([[0, 1, 1], [0, 1, 2], [0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 2]])
    plain, shifted = (
        reward_to_go(rewards, Decided(potentials, stage, [c] * 6), 3) for c in (0.0, 5.0)
    )
    assert torch.allclose(plain, shifted, atol=1e-6)


def test_without_decisions_it_is_grpo():
    rewards = torch.randn(12, generator=torch.Generator().manual_seed(0))
    for scale in ("group", "none"):
        found = reward_to_go(
            rewards, Decided([[]] * 12, torch.zeros(12, 3, dtype=torch.long)), 4, scale=scale
        )
        centred = (rewards.view(-1, 4) - rewards.view(-1, 4).mean(1, keepdim=True)).view(-1)
        plain = group_normalise(rewards, 4) if scale == "group" else centred
        assert torch.allclose(found, plain.unsqueeze(1).expand(-1, 3), atol=1e-6)


def test_a_group_of_equal_rewards_stays_bounded():
    """One was right first, the other last: the sum says nothing, the parts do."""
    found = reward_to_go(
        torch.tensor([1.0, 1.0]), Decided([[1.0], [0.0]], num_decided([[0, 1], [0, 1]])), 2
    )
    assert found.abs().max() < 1
    assert found[:, 0].abs().max() < 1e-6
    assert found[0, 1] < 0 < found[1, 1]


def test_groups_must_be_whole():
    with pytest.raises(ValueError, match="multiple of the group size"):
        reward_to_go(torch.zeros(3), Decided([[]] * 3, torch.zeros(3, 1, dtype=torch.long)), 2)


P1, P2 = 0.3, 0.6
GROUP = 2


def scores(a: int, b: int) -> torch.Tensor:
    """Gradient of ln p(a) p(b) by the two logits of independent Bernoulli tokens."""
    return torch.tensor([a - P1, b - P2], dtype=torch.float64)


def estimates(to_go: bool):
    """(probability, gradient estimate) of every group of two responses of two tokens.

    Token 1 decides a part worth 2a, token 2 a part worth b: R = 2a + b.
    """
    responses = list(itertools.product((0, 1), (0, 1)))
    for group in itertools.product(responses, repeat=GROUP):
        chance = 1.0
        for a, b in group:
            chance *= (P1 if a else 1 - P1) * (P2 if b else 1 - P2)
        rewards = torch.tensor([2.0 * a + b for a, b in group], dtype=torch.float64)
        potentials = [[2.0 * a] if to_go else [] for a, _ in group]
        stage = torch.tensor([[0, int(to_go)]] * GROUP)
        advantages = reward_to_go(rewards, Decided(potentials, stage), GROUP, scale="none")
        per_token = torch.stack([scores(a, b) for a, b in group])
        yield chance, (advantages * per_token).mean(0)


def moments(to_go: bool):
    mean = sum(chance * g for chance, g in estimates(to_go))
    variance = sum(chance * (g - mean).square().sum() for chance, g in estimates(to_go))
    return mean, float(variance)


def test_it_is_unbiased_and_varies_less_on_a_policy_with_a_closed_form():
    """d E[R] / d logits = (2 P1 (1 - P1), P2 (1 - P2)); the group's own mean scales by 1 - 1/G.

    With advantages A_t = X_t - mean X_t of what is undecided, G = 2 gives A = +-(X - X')/2, and
    g_t = (X - X')(s_t - s'_t) / 4 over pairs. With X_1 = 2a + b, X_2 = b for reward-to-go and
    X_2 = 2a + b for GRPO, and D = x - x' in {-1, 0, 1} with P(D != 0) = 2 p (1 - p) = q:
        E[((X - X') D / 4)^2] for token 2: reward-to-go q2 / 16; GRPO (q2 + 4 q1 q2) / 16.
    """
    q1, q2 = 2 * P1 * (1 - P1), 2 * P2 * (1 - P2)
    truth = torch.tensor([2 * P1 * (1 - P1), P2 * (1 - P2)], dtype=torch.float64)
    plain_mean, plain_variance = moments(to_go=False)
    mean, variance = moments(to_go=True)
    assert torch.allclose(plain_mean, truth * (1 - 1 / GROUP), atol=1e-12)
    assert torch.allclose(mean, truth * (1 - 1 / GROUP), atol=1e-12)
    first = (4 * q1 + q1 * q2) / 16 - float(mean[0]) ** 2
    second, plain_second = (moment / 16 - float(mean[1]) ** 2 for moment in (q2, q2 + 4 * q1 * q2))
    assert variance == pytest.approx(first + second, abs=1e-12)
    assert plain_variance == pytest.approx(first + plain_second, abs=1e-12)
    assert variance < plain_variance

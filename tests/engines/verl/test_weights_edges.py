"""Borders of what the verl engine computes, by hand and without verl."""

import math

import pytest
import torch

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region
from toolrest.core.vocabulary import Vocabulary
from toolrest.core.weights import get_scheme
from toolrest.engines.verl.weights import (
    SIGNAL,
    SPREAD,
    GenerationWeights,
    Rollouts,
    WeightsNotApplied,
    check_received,
    received,
)

pytestmark = pytest.mark.stored_numbers
F, T = Region.FORMAT, Region.REASONING
VOCABULARY = Vocabulary.from_table([b"<think>", b" a", b"</think>"])


def weigher(scheme="rest", group_size=1, **more):
    return GenerationWeights(
        get_scheme(scheme) if isinstance(scheme, str) else scheme,
        get_dialect("rlla"),
        VOCABULARY,
        group_size=group_size,
        **more,
    )


def rollouts(step=1, entropy=1.0, rows=1, groups=None, advantages=None, mask=None, progress=0.5):
    """Rows of <think>, a thought token, </think>; entropies 0.5, `entropy` and 0.5."""
    ids = torch.tensor([[0, 1, 2]] * rows)
    mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else torch.tensor(mask)
    values = torch.tensor(advantages or [1.0] * rows)
    return Rollouts(
        step=step,
        progress=progress,
        ids=ids,
        mask=mask,
        entropies=torch.tensor([[0.5, entropy, 0.5]] * rows),
        log_probs=torch.tensor([[-1.0, -2.0, -3.0]] * rows),
        advantages=values[:, None] * mask,
        groups=groups or ["g"] * rows,
    )


def followed(weigher):
    state = weigher.entropy.to_dict()["followed"]
    return state["total"][T] / state["count"][T], state["count"][T]


def test_the_average_by_hand_with_its_default_decay():
    """1 nat, then two batches of one step with 3 and 5, then a step with 7."""
    made = weigher()
    assert made.entropy.to_dict() == {"step": 0, "followed": None}
    found = made.weigh(rollouts(step=1, entropy=1.0))
    assert followed(made) == pytest.approx((1.0, 1.0))
    assert found.metrics["entropy/reasoning"] == 1.0  # of one token
    made.weigh(rollouts(step=2, entropy=3.0))
    assert followed(made) == pytest.approx((0.9 * 1 + 0.1 * 3, 1.0))
    made.weigh(rollouts(step=2, entropy=5.0))
    two = (0.9 * 1 + 0.1 * (3 + 5)) / (0.9 + 0.1 * 2)
    assert followed(made) == pytest.approx((two, 1.1))
    made.weigh(rollouts(step=3, entropy=7.0))
    assert followed(made)[0] == pytest.approx((0.9 * 1.7 + 0.1 * 7) / (0.9 * 1.1 + 0.1))
    assert made.entropy.to_dict()["step"] == 3


def test_the_first_step_s_batches_add_up():
    made = weigher(entropy_source="static")
    made.weigh(rollouts(step=4, entropy=1.0))
    made.weigh(rollouts(step=4, entropy=3.0))
    assert followed(made) == pytest.approx((2.0, 2.0))
    made.weigh(rollouts(step=5, entropy=9.0))
    assert followed(made) == pytest.approx((2.0, 2.0))


def test_exact_entropies_leave_no_trace():
    made = weigher(entropy_source="exact")
    found = [made.weigh(rollouts(step=n, entropy=e)).weights for n, e in ((1, 1.0), (2, 3.0))]
    assert not torch.equal(*found)
    assert made.entropy.to_dict() == {"step": 0, "followed": None}


def test_a_resumed_average_goes_on_within_its_step_and_after_it():
    straight = weigher()
    straight.weigh(rollouts(step=1, entropy=1.0))
    straight.weigh(rollouts(step=2, entropy=3.0))
    resumed = weigher()
    resumed.weigh(rollouts(step=9, entropy=50.0))  # what it had is gone
    resumed.entropy.from_dict(straight.entropy.to_dict())
    for step, entropy in ((3, 5.0), (4, 2.0)):
        for each in (straight, resumed):
            each.weigh(rollouts(step=step, entropy=entropy))
        assert followed(straight) == pytest.approx(followed(resumed))
    fresh = weigher()
    fresh.entropy.from_dict({"step": 0, "followed": None})
    assert fresh.entropy.to_dict() == {"step": 0, "followed": None}


def test_weights_by_hand():
    """Raw 1 / (1 - e^-H) of FORMAT (2 tokens of 0.5 nats) and REASONING (1 of 1), half-way."""
    raw = {F: 1 / (1 - math.exp(-0.5)), T: 1 / (1 - math.exp(-1.0))}
    mean = (2 * raw[F] + raw[T]) / 3
    form, thought = raw[F] / mean - 0.25, raw[T] / mean + 0.25
    scale = (2 * form + thought) / 3
    expected = [form / scale, thought / scale, form / scale]
    found = weigher(entropy_source="exact").weigh(rollouts(rows=2, advantages=[2.0, -0.5]))
    assert found.weights.tolist() == [pytest.approx(expected)] * 2
    assert found.advantages.tolist() == [
        pytest.approx([2 * w for w in expected]),
        pytest.approx([-0.5 * w for w in expected]),
    ]
    metrics = {name: value for name, value in found.metrics.items() if value}
    assert metrics == pytest.approx(
        {
            "share/format": 2 / 3,
            "share/reasoning": 1 / 3,
            "weight/format": expected[0],
            "weight/reasoning": expected[1],
            "signal/format": 2 * expected[0] / 3,
            "signal/reasoning": expected[1] / 3,
            "entropy/format": 0.5,
            "entropy/reasoning": 1.0,
        }
    )


def test_a_scheme_is_told_of_each_token_in_the_order_of_its_groups():
    """Rows of two groups that alternate, the first masked at its start; a padding row is not in."""
    seen = []

    class Spy:
        scaffolding, statistic, reads_tokens = Region.FORMAT, None, True

        def __call__(self, batch):
            seen.append(batch)
            return torch.arange(1.0, 13.0).view(4, 3) * batch.mask

    mask = [[False, True, True], [True, True, True], [False] * 3, [True] * 3, [True, True, False]]
    given = rollouts(
        rows=5,
        groups=["x", "y", None, "x", "y"],
        advantages=[1.0, 2.0, 9.0, 3.0, -4.0],
        mask=mask,
        progress=0.25,
    )
    found = weigher(Spy(), group_size=2).weigh(given)
    [batch] = seen
    tokens = batch.tokens
    assert batch.mask.tolist() == [mask[row] for row in (0, 3, 1, 4)]
    assert batch.regions[1:].tolist() == [[F, T, F], [F, T, F], [F, T, 0]]
    assert batch.region_entropy is None and batch.progress == 0.25
    assert tokens.advantages.tolist() == [1.0, 3.0, 2.0, -4.0]
    assert tokens.surprisal.tolist() == [[1.0, 2.0, 3.0]] * 4
    assert tokens.entropy.tolist() == [[0.5, 1.0, 0.5]] * 4
    assert tokens.ids.tolist() == [[0, 1, 2]] * 4
    assert tokens.group_size == 2
    rows = torch.arange(1.0, 13.0).view(4, 3)
    expected = torch.zeros(5, 3)
    for place, row in enumerate((0, 3, 1, 4)):
        expected[row] = rows[place] * torch.tensor(mask[row])
    assert found.weights.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("groups", "size", "words"),
    [
        (["x", "x", "y"], 2, "2 responses of a group, but prompt y has 1"),
        (["x", "x", "x"], 2, "prompt x has 3"),
        (["x", "y", "z"], 2, "prompt x has 1"),
    ],
)
def test_groups_that_are_not_whole(groups, size, words):
    given = rollouts(rows=3, groups=groups)
    with pytest.raises(WeightsNotApplied, match=words):
        weigher("gtpo", size).weigh(given)
    weigher("official", size).weigh(given)


def test_groups_are_of_one_response_unless_told_otherwise():
    made = GenerationWeights(get_scheme("gtpo"), get_dialect("rlla"), VOCABULARY)
    made.weigh(rollouts(rows=2, groups=["x", "y"]))


def test_whole_groups_beside_padding_are_taken():
    weigher("gtpo", 2).weigh(rollouts(rows=3, groups=["x", None, "x"]))


@pytest.mark.parametrize(
    ("advantages", "mask", "signal", "spread"),
    [
        ([[2.0, 2.0]], [[1, 1]], 8.0, 0.0),
        ([[2.0, 1.0]], [[1, 1]], 5.0, 1.0),
        ([[2.0, 1.0]], [[1, 0]], 4.0, 0.0),
        ([[0.0, 3.0]], [[1, 1]], 9.0, 1.0),
        ([[2.0, -2.0]], [[1, 1]], 8.0, 0.0),  # of equal size
        ([[1.0, 1.0], [3.0, 0.0]], [[1, 1], [0, 0]], 1.0, 0.0),
        ([[1.0, 0.5], [3.0, 2.0]], [[1, 1], [1, 1]], (1.25 + 13) / 2, 1.0),
    ],
)
def test_what_a_loss_sees_by_hand(advantages, mask, signal, spread):
    found = received(torch.tensor(advantages), torch.tensor(mask))
    assert found == {SIGNAL: pytest.approx(signal), SPREAD: pytest.approx(spread)}


@pytest.mark.parametrize(
    ("signal", "comparable", "arrived"),
    [
        (40.0, True, True),
        (40.03, True, True),  # within a thousandth
        (40.06, True, False),
        (39.94, True, False),
        (60.0, False, True),  # batches of several sizes cannot be compared
        (0.0, False, False),
    ],
)
def test_how_near_what_arrived_must_be(signal, comparable, arrived):
    sent, metrics = {SIGNAL: 40.0, SPREAD: 0.5}, {SIGNAL: signal, SPREAD: 0.5}
    if arrived:
        check_received(sent, metrics, comparable=comparable)
    else:
        with pytest.raises(WeightsNotApplied, match="whose squares sum to"):
            check_received(sent, metrics, comparable=comparable)


def test_signals_near_0_are_compared_by_a_millionth():
    sent = {SIGNAL: 1e-9, SPREAD: 0.0}
    check_received(sent, {SIGNAL: 9e-7, SPREAD: 0.0}, comparable=True)
    with pytest.raises(WeightsNotApplied):
        check_received(sent, {SIGNAL: 1.5e-6, SPREAD: 0.0}, comparable=True)
    with pytest.raises(WeightsNotApplied):  # nothing was sent, something arrived
        check_received({SIGNAL: 0.0, SPREAD: 0.0}, {SIGNAL: 1e-9, SPREAD: 0.0}, comparable=True)


@pytest.mark.parametrize("missing", [SIGNAL, SPREAD])
def test_a_metric_that_is_missing_is_named(missing):
    metrics = {SIGNAL: 1.0, SPREAD: 1.0}
    del metrics[missing]
    with pytest.raises(WeightsNotApplied, match=missing):
        check_received({SIGNAL: 1.0, SPREAD: 1.0}, metrics, comparable=True)


def test_one_advantage_over_all_tokens_is_told_only_where_they_should_differ():
    same = {SIGNAL: 4.0, SPREAD: 0.0}
    check_received(same, same, comparable=True)
    with pytest.raises(WeightsNotApplied, match="plain GRPO"):
        check_received({SIGNAL: 4.0, SPREAD: 0.1}, same, comparable=True)


def test_a_signal_is_no_weight():
    """The thought is in the row of advantage 2 alone; weights are 1 each, signals 6 and 0.5."""
    given = rollouts(rows=2, advantages=[2.0, -0.5], mask=[[True] * 3, [True, False, False]])
    found = weigher("uniform").weigh(given).metrics
    assert found["signal/reasoning"] == pytest.approx(2 / 6.5)
    assert found["signal/format"] == pytest.approx(4.5 / 6.5)

"""What the verl engine computes, without verl."""

import json

import pytest
import torch
from golden_rollouts import CLOSE, GROUP, read

from toolrest.core.dialects import get_dialect
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


@pytest.fixture(scope="module")
def vocabulary(embedded_tokenizer):
    dialect = get_dialect("rlla")
    return Vocabulary.from_tokenizer(
        embedded_tokenizer, written_special_tokens=dialect.special_tokens
    )


def weigher(vocabulary, scheme="rest", source="exact", decay=0.9):
    return GenerationWeights(
        get_scheme(scheme),
        get_dialect("rlla"),
        vocabulary,
        entropy_source=source,
        entropy_decay=decay,
        group_size=GROUP,
    )


def rollouts(generation, order=None, padding=0, step=None, entropy_scale=1.0):
    """A generation of the golden file, its rows in any order, with padding rows at the end."""
    rows = [generation["rows"][row] for row in order or range(len(generation["rows"]))]
    groups = [f"prompt{row // GROUP}" for row in order or range(len(rows))]
    longest = max(len(row["ids"]) for row in rows)

    def padded(values, dtype):
        whole = [list(v) + [0] * (longest - len(v)) for v in values] + [[0] * longest] * padding
        return torch.tensor(whole, dtype=dtype)

    mask = padded([row["mask"] for row in rows], torch.bool)
    advantages = torch.tensor([row["advantage"] for row in rows] + [0.0] * padding)
    return Rollouts(
        step=generation["step"] + 1 if step is None else step,
        progress=generation["progress"],
        ids=padded([row["ids"] for row in rows], torch.int64),
        mask=mask,
        entropies=padded([row["entropies"] for row in rows], torch.float32) * entropy_scale,
        log_probs=-padded([row["entropies"] for row in rows], torch.float32),
        advantages=advantages.unsqueeze(1) * mask,
        groups=[*groups, *[None] * padding],
    )


def golden_weights(generation, width, named="weights"):
    weights = torch.zeros(len(generation["rows"]), width)
    for row, found in enumerate(generation["rows"]):
        weights[row, : len(found[named])] = torch.tensor(found[named])
    return weights


def test_the_weights_of_the_trl_engine(vocabulary):
    generation_weights = weigher(vocabulary)
    for generation in read():
        given = rollouts(generation)
        found = generation_weights.weigh(given)
        right = golden_weights(generation, given.ids.shape[1])
        torch.testing.assert_close(found.weights, right, **CLOSE)
        torch.testing.assert_close(found.advantages, right * given.advantages, **CLOSE)


def test_the_entropy_average_of_the_trl_engine(vocabulary):
    generation_weights = weigher(vocabulary, source="online")
    for generation in read():
        given = rollouts(generation)
        found = generation_weights.weigh(given)
        average = generation_weights.entropy.to_dict()["followed"]
        means = [total / count for total, count in zip(*average.values(), strict=True) if count]
        assert means == pytest.approx([m for m in generation["average"] if m is not None], rel=1e-4)
        right = golden_weights(generation, given.ids.shape[1], "online_weights")
        torch.testing.assert_close(found.weights, right, **CLOSE)


def test_padding_rows_weigh_nothing_and_change_nothing(vocabulary):
    generation = read()[0]
    plain = weigher(vocabulary).weigh(rollouts(generation))
    with_padding = weigher(vocabulary).weigh(rollouts(generation, padding=3))
    torch.testing.assert_close(with_padding.weights[:-3], plain.weights, rtol=1e-6, atol=0)
    assert not with_padding.weights[-3:].any()
    assert with_padding.metrics == pytest.approx(plain.metrics)


@pytest.mark.parametrize("scheme", ["rest", "gtpo", "contrast", "rest*stare"])
def test_rows_in_another_order_weigh_the_same(vocabulary, scheme):
    generation = read()[0]
    order = [5, 0, 7, 2, 1, 6, 4, 3]
    plain = weigher(vocabulary, scheme).weigh(rollouts(generation))
    mixed = weigher(vocabulary, scheme).weigh(rollouts(generation, order, padding=2))
    # The members of a group are compared in another order: sums differ in the last bits.
    torch.testing.assert_close(mixed.weights[:-2], plain.weights[order], rtol=1e-5, atol=1e-6)


def test_a_torn_group_is_refused_where_responses_are_compared(vocabulary):
    torn = rollouts(read()[0], order=[0, 1, 2, 4, 5, 6, 7])
    weigher(vocabulary, "rest").weigh(torn)
    with pytest.raises(WeightsNotApplied, match="prompt0 has 3"):
        weigher(vocabulary, "gtpo").weigh(torn)


def test_uniform_weights_leave_advantages_bitwise(vocabulary):
    given = rollouts(read()[0], padding=1)
    found = weigher(vocabulary, "uniform").weigh(given)
    assert torch.equal(found.advantages, given.advantages)


def reasoning_entropy(state):
    total, count = state["followed"]["total"], state["followed"]["count"]
    return total[4] / count[4]


def test_online_entropies_follow_and_batches_of_a_step_add_up(vocabulary):
    generation = read()[0]
    online = weigher(vocabulary, source="online", decay=0.75)
    online.weigh(rollouts(generation, step=1))
    start = reasoning_entropy(online.entropy.to_dict())
    online.weigh(rollouts(generation, step=2, entropy_scale=3.0))
    # 0.75 of h and 0.25 of 3 h, over equally many tokens: 1.5 h
    assert reasoning_entropy(online.entropy.to_dict()) == pytest.approx(1.5 * start)
    online.weigh(rollouts(generation, step=2, entropy_scale=1.0))
    # the second batch of the step: (0.75 h + 0.25 (3 h + h)) / (0.75 + 0.25 * 2) = 1.4 h
    assert reasoning_entropy(online.entropy.to_dict()) == pytest.approx(1.4 * start)
    static = weigher(vocabulary, source="static")
    static.weigh(rollouts(generation, step=1))
    static.weigh(rollouts(generation, step=2, entropy_scale=3.0))
    assert reasoning_entropy(static.entropy.to_dict()) == pytest.approx(start)


@pytest.mark.parametrize("source", ["online", "static", "exact"])
def test_a_resumed_run_weighs_as_a_straight_one(vocabulary, source):
    first, second, third = read()
    straight = weigher(vocabulary, source=source)
    straight.weigh(rollouts(first))
    straight.weigh(rollouts(second))
    resumed = weigher(vocabulary, source=source)
    resumed.from_dict(json.loads(json.dumps(straight.to_dict())))
    found = [one.weigh(rollouts(third)) for one in (straight, resumed)]
    assert torch.equal(found[0].weights, found[1].weights)


def test_stare_is_on_under_the_entropy_of_the_first_step_and_after_resuming(vocabulary):
    generation = read()[0]
    straight = weigher(vocabulary, "stare")
    for step, scale in ((1, 1.0), (1, 1.0), (2, 1.1)):
        given = rollouts(generation, step=step, entropy_scale=scale)
        assert same_all_over(straight.weigh(given))
    resumed, other = weigher(vocabulary, "stare"), weigher(vocabulary, "stare")
    resumed.from_dict(json.loads(json.dumps(straight.to_dict())))
    lower = rollouts(generation, step=3, entropy_scale=0.9)
    found = [each.weigh(lower) for each in (straight, resumed)]
    assert not same_all_over(found[0])
    assert torch.equal(found[0].weights, found[1].weights)
    assert same_all_over(other.weigh(lower))  # its own first step


def same_all_over(found):
    """Whether all tokens weigh 1."""
    counted = found.weights[found.weights > 0]
    return torch.allclose(counted, torch.ones_like(counted))


def test_what_a_loss_sees():
    advantages = torch.tensor([[1.0, -3.0, 9.0], [2.0, 2.0, 0.0], [5.0, 7.0, 7.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    # 1 + 9, 4 + 4 and nothing; the first row alone has different sizes
    assert received(advantages, mask) == {
        SIGNAL: pytest.approx(18 / 3),
        SPREAD: pytest.approx(1 / 3),
    }


SENT = {SIGNAL: 40.0, SPREAD: 0.9}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({}, "did not use toolrest's loss"),
        ({SIGNAL: 40.0, SPREAD: 0.0}, "plain GRPO"),
        ({SIGNAL: 41.0, SPREAD: 0.9}, "41 a response, but those of the weighted ones to 40"),
        ({SIGNAL: 0.0, SPREAD: 0.9}, "0 a response"),
    ],
)
def test_weights_that_did_not_arrive_stop_the_run(metrics, words):
    with pytest.raises(WeightsNotApplied, match=words):
        check_received(SENT, metrics, comparable=True)


def test_weights_that_arrived():
    check_received(SENT, {SIGNAL: 40.00001, SPREAD: 0.4}, comparable=True)
    check_received(SENT, {SIGNAL: 31.0, SPREAD: 0.4}, comparable=False)
    none = {SIGNAL: 0.0, SPREAD: 0.0}
    check_received(none, none, comparable=True)

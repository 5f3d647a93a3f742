"""What the verl engine credits tokens with, without verl."""

import json
import math

import pytest
import torch
from golden_episodes import CLOSE, CREDITS, DISCOUNT, GROUP, read

from toolrest.core.credit import group_normalise
from toolrest.core.dialects import get_dialect
from toolrest.core.weights import get_scheme
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.reward import Asked, ToolReward
from toolrest.engines.verl.credit import Crediting, credited, nothing_decided
from toolrest.engines.verl.episodes import RECORD
from toolrest.engines.verl.scoring import Scored, episode_scores
from toolrest.engines.verl.weights import GenerationWeights, Rollouts, WeightsNotApplied
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import load_recipe

pytestmark = pytest.mark.stored_numbers
ROWS = 8


@pytest.fixture(scope="module")
def speech():
    tokenizer = load_tokenizer(load_recipe(None, ["environment.source=world"]))
    return read_speech(tokenizer, get_dialect("rlla"))


def padded(values, dtype):
    longest = max(map(len, values))
    return torch.tensor([list(v) + [0] * (longest - len(v)) for v in values], dtype=dtype)


def rollouts_of(rows, groups, speech):
    mask = padded([row["mask"] for row in rows], torch.bool)
    return Rollouts(
        step=1,
        progress=0.0,
        ids=padded([row["ids"] for row in rows], torch.int64),
        mask=mask,
        entropies=padded([row["entropies"] for row in rows], torch.float32),
        log_probs=torch.zeros(mask.shape),
        advantages=torch.full(mask.shape, math.nan) * mask,  # verl's own, which are not taken
        groups=groups,
        openings=[speech.opening(row["prompt"]) for row in rows],
    )


def crediting(speech, credit, scale="group", discount=DISCOUNT):
    return Crediting(credit, discount, scale, ToolReward(), speech.vocabulary)


PADDING = {"prompt": [1], "ids": [1], "mask": [0], "entropies": [7.0], "episode": None}


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("order", [range(ROWS), [5, 2, 7, 0, 3, 4, 1, 6]], ids=["plain", "mixed"])
def test_the_golden_weights_and_credits_of_the_trl_engine(speech, credit, order):
    golden = read()
    rows = [golden["rows"][at] for at in order] + [PADDING] * 2
    padding = [False] * ROWS + [True] * 2
    extra = [{RECORD: json.dumps(row["episode"])} for row in rows]
    groups = [f"prompt{at // GROUP}" for at in order] + [None] * 2
    scored = episode_scores(extra, padding)
    rollouts = crediting(speech, credit).of(rollouts_of(rows, groups, speech), scored)
    weigher = GenerationWeights(
        get_scheme("rest"),
        speech.dialect,
        speech.vocabulary,
        entropy_source="exact",
        group_size=GROUP,
        normalise="turn",
    )
    found = weigher.weigh(rollouts)
    for place, at in enumerate(order):
        row, weighted = golden["rows"][at], golden["weighted"][credit][at]
        length = len(row["ids"])
        weights = torch.tensor(row["weights"])
        torch.testing.assert_close(found.weights[place, :length], weights, **CLOSE)
        torch.testing.assert_close(
            found.advantages[place, :length], torch.tensor(weighted), **CLOSE
        )
    assert not found.advantages[ROWS:].any()
    known = [row["episode"]["reward"] for row in golden["rows"]]
    known = [each for each in known if each is not None]
    assert scored.metrics["reward"] == pytest.approx(sum(known) / len(known))
    assert scored.metrics["ending/failed"] == 1 / ROWS
    assert len(scored.failures) == 1 and "not today" in scored.failures[0]


def test_whole_advantages_are_grpo_s_and_groups_need_not_be_whole():
    rewards = torch.tensor([1.0, 0.0, 3.0, 0.5, 5.0], dtype=torch.float64)
    mask = torch.ones(5, 2, dtype=torch.bool)
    groups = ["a", "b", "a", None, "a"]
    found = credited(rewards, nothing_decided(mask), groups)
    expected = group_normalise(rewards[[0, 2, 4]], 3)
    torch.testing.assert_close(found[[0, 2, 4], 0], expected)
    assert not found[[1, 3]].any()  # alone in its group; padding
    plain = credited(rewards, nothing_decided(mask), groups, scale="none")
    assert plain[:, 1].tolist() == [-2.0, 0.0, 0.0, 0.0, 2.0]


def test_what_is_not_known_counts_for_no_mean():
    rewards = torch.tensor([1.0, math.nan, 3.0], dtype=torch.float64)
    mask = torch.ones(3, 1, dtype=torch.bool)
    found = credited(rewards, nothing_decided(mask), ["a"] * 3, scale="none")
    assert found[:, 0].tolist() == [-1.0, 0.0, 1.0]
    nothing = credited(torch.full((3,), math.nan), nothing_decided(mask), ["a"] * 3)
    assert not nothing.any()


def test_spans_are_credited_as_in_the_trl_engine(speech, embedded_tokenizer):
    """Each row by its potentials, whatever the order of the rows, with padding between them."""
    from toolrest.core.credit import reward_to_go

    read = read_speech(embedded_tokenizer, get_dialect("rlla"))
    truth = read.dialect.render(
        thought="I call.", calls=[_call("Find", x=1), _call("Pay", y=2)], response=None
    )
    said = [
        truth,
        truth.replace("Pay", "Buy"),
        truth.replace("1", "3"),
        read.dialect.render(thought="No.", calls=(), response="it is 5"),
    ]
    ids = [embedded_tokenizer(text)["input_ids"] for text in said]
    ids = padded([*ids, [1]], torch.int64)
    mask = ids != 0
    mask[4] = False
    reward = ToolReward()
    scores = [reward.score(text, truth).total for text in said]
    asked = [Asked(truth)] * 4
    decided = batch_potentials(ids[:4], mask[:4], asked, reward, read.vocabulary, 0.0)
    expected = reward_to_go(torch.tensor(scores, dtype=torch.float64), decided, 4, discount=0.5)
    assert len(set(expected[0].tolist())) > 2
    order = [2, 4, 0, 3, 1]
    rollouts = Rollouts(
        step=1,
        progress=0.0,
        ids=ids[order],
        mask=mask[order],
        entropies=torch.zeros(ids.shape),
        log_probs=torch.zeros(ids.shape),
        advantages=torch.zeros(ids.shape, dtype=torch.float64),
        groups=[None if at == 4 else "a" for at in order],
    )
    scored = Scored(torch.tensor([0.0 if at == 4 else scores[at] for at in order]).double(), {})
    rule = Crediting("spans", 0.5, "group", reward, read.vocabulary)
    found = rule.of(rollouts, scored, [None if at == 4 else Asked(truth) for at in order])
    assert found.credited is not None and torch.equal(found.advantages, rollouts.advantages)
    for place, at in enumerate(order):
        wanted = torch.zeros(ids.shape[1]).double() if at == 4 else expected[at] * mask[at]
        torch.testing.assert_close(found.credited[place], wanted, rtol=1e-6, atol=1e-6)
    with pytest.raises(WeightsNotApplied, match=r"needs the parts of toolrest's own reward"):
        rule.of(rollouts, None, None)


def _call(name, **parameters):
    from toolrest.core.dialects import ToolCall

    return ToolCall(name, parameters)


def test_a_trajectory_of_another_agent_loop_is_refused():
    with pytest.raises(WeightsNotApplied, match="did not play it by toolrest's agent loop"):
        episode_scores([{"reward_extra_info": {}}], [False])

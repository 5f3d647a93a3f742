"""Single steps of the chains are those of whole trajectories, each after what came before it."""

import random

import pytest

from toolrest.core.dialects import get_dialect
from toolrest.data.decompose import Rendering
from toolrest.data.prompts import render_prompt
from toolrest.data.wording import word
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import load_recipe
from toolrest.world.chain_demonstrations import demonstrate_chain
from toolrest.world.chain_steps import chain_dialogue, chain_steps
from toolrest.world.chain_tasks import make_chain
from toolrest.world.chain_tokens import prompt_ids, reply_ids, seam_ids
from toolrest.world.chains import chain_rows
from toolrest.world.tasks import Split

PLAIN = Rendering(style="plain", thoughts="all")
ROWS = chain_rows(Split.TRAIN, 40, seed=3)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(load_recipe(None, ["environment.source=world"]))


def of_row(row):
    return chain_steps([row], PLAIN)


def test_the_calls_of_a_chain_are_its_steps_and_then_its_answer():
    lengths = set()
    for row in ROWS:
        chain = make_chain(Split.TRAIN, 3, row["index"])
        steps = of_row(row)
        truths = [get_dialect("rlla").parse(step.ground_truth) for step in steps]
        assert [truth.calls for truth in truths] == [*((link.call,) for link in chain.links), ()]
        assert chain.results[-1] in str(truths[-1].response)
        assert [step.identity for step in steps] == [
            f"train/3/{row['index']}.{number}" for number in range(len(steps))
        ]
        assert len({step.group for step in steps}) == 1
        lengths.add((len(steps), any(link.refused for link in chain.links)))
    assert {(2, False), (3, True), (4, False), (4, True)} <= lengths


def test_a_step_is_prompted_with_the_ids_that_an_episode_has_at_it(tokenizer):
    for row in ROWS[:12]:
        trajectory = demonstrate_chain(
            dict(row), random.Random(f"chain demonstrations/train/3/{row['index']}")
        )
        ids = prompt_ids(trajectory.messages, tokenizer)
        steps = of_row(row)
        assert len(steps) == len(trajectory.turns)
        for step, turn in zip(steps, trajectory.turns, strict=True):
            assert render_prompt(step, tokenizer) == ids
            ids = ids + reply_ids(turn.reply, tokenizer) + seam_ids(turn.results, tokenizer)


def test_each_demonstration_earns_the_most():
    reward = ToolReward()
    steps = chain_steps(ROWS, PLAIN)
    scored = reward.score_batch(
        [step.demonstration for step in steps],
        [Asked(step.ground_truth) for step in steps],
    )
    assert all(each.exact and each.correctness == 1.0 for each in scored)


def test_a_row_always_gives_the_same_steps():
    assert chain_steps(ROWS[5:7], PLAIN) == [*of_row(ROWS[5]), *of_row(ROWS[6])]


def test_messages_of_an_environment_are_not_worded_anew():
    dialogue = chain_dialogue(demonstrate_chain(dict(ROWS[0]), random.Random(0)))
    first = word(dialogue, "plain", get_dialect("rlla"))
    assert tuple(first.messages[:2]) == dialogue.begins and first.tools is None
    template = word(dialogue, "template", get_dialect("hermes"))
    assert tuple(template.messages[:2]) == dialogue.begins and template.tools is None
    with pytest.raises(InputError, match="use plain or template"):
        word(dialogue, "rlla", get_dialect("rlla"))

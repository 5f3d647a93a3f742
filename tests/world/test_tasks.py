import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ParseStatus, get_dialect
from toolrest.core.regions import Region
from toolrest.engines.common.reward import ToolReward
from toolrest.world.demonstrations import demonstrate, demonstrate_with_errors, has_habit
from toolrest.world.tasks import TOOL_NAMES, Split, in_split, make_samples, make_task

RLLA = get_dialect("rlla")


def test_a_task_is_the_same_for_the_same_numbers():
    assert make_task(Split.TRAIN, 1, 2) == make_task(Split.TRAIN, 1, 2)
    assert make_task(Split.TRAIN, 1, 2) != make_task(Split.TRAIN, 1, 3)
    assert make_task(Split.TRAIN, 2, 2) != make_task(Split.TRAIN, 1, 2)


def test_the_splits_share_no_tool_and_no_value():
    assert not set(TOOL_NAMES[Split.TRAIN]) & set(TOOL_NAMES[Split.HELDOUT])
    seen = {}
    for split in Split:
        tasks = [make_task(split, 0, index) for index in range(400)]
        assert {tool.name for task in tasks for tool in task.tools} <= set(TOOL_NAMES[split])
        seen[split] = {
            str(value)
            for task in tasks
            for call in task.calls
            for value in call.parameters.values()
        }
        assert all(in_split(value, split) for value in seen[split])
    assert not seen[Split.TRAIN] & seen[Split.HELDOUT]


@given(st.sampled_from(Split), st.integers(0, 10_000))
def test_the_prompt_says_all_that_the_answer_needs(split, index):
    task = make_task(split, 0, index)
    for call in task.calls:
        assert f"Name: {call.name}\n" in task.system
        for name, value in call.parameters.items():
            assert name in task.query
            assert str(value) in task.query
    assert bool(task.calls) != (task.answer is not None)


@given(st.integers(0, 10_000))
def test_a_demonstration_earns_the_most(index):
    task = make_task(Split.TRAIN, 0, index)
    text = demonstrate(task, random.Random(index))
    score = ToolReward().score(text, task.sample("x").ground_truth)
    assert score.exact
    assert score.status is ParseStatus.OK
    assert score.total == pytest.approx(4.0)


def test_demonstrations_with_errors_are_often_wrong_and_the_habit_shows():
    rng = random.Random(0)
    wrong, habits, habitual = [], 0, 0
    for index in range(600):
        task = make_task(Split.TRAIN, 0, index)
        text = demonstrate_with_errors(task, rng, 0.5)
        score = ToolReward().score(text, task.sample("x").ground_truth)
        if has_habit(task):
            habitual += 1
            habits += not score.exact
        else:
            wrong.append(not score.exact)
    assert 0.4 < sum(wrong) / len(wrong) < 0.6
    assert habits / habitual > 0.7


def test_the_reasoning_is_most_of_a_demonstration():
    rng = random.Random(0)
    lengths = dict.fromkeys(Region, 0)
    for index in range(200):
        for span in RLLA.parse(demonstrate(make_task(Split.TRAIN, 0, index), rng)).spans:
            lengths[span.region] += span.end - span.start
    assert lengths[Region.REASONING] == max(lengths.values())


def test_samples_are_numbered():
    samples = make_samples(Split.HELDOUT, 3)
    assert [sample.identity for sample in samples] == [f"heldout/0/{i}" for i in range(3)]
    assert samples[0].prompt[0]["role"] == "system"

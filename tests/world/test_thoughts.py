import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region
from toolrest.engines.common.reward import ToolReward
from toolrest.world.sets import demonstrated_world, world_samples
from toolrest.world.tasks import SYLLABLES, TOOL_NAMES, Split, in_split, make_samples
from toolrest.world.thought_demonstrations import (
    demonstrate_thought,
    demonstrate_thought_with_errors,
    has_habit,
)
from toolrest.world.thought_tasks import MOST_IDLE, Knobs, make_thought_task

RLLA = get_dialect("rlla")
KNOBS = st.builds(Knobs, st.sampled_from((0.0, 0.3, 0.5, 1.0)), st.integers(0, MOST_IDLE))
INDICES = st.integers(0, 10_000)


def thought_of(text):
    return text.partition("<think>")[2].partition("</think>")[0]


def facts_of(query):
    """The facts that a request states, read by their words alone."""
    return dict(re.findall(r"(?:^|(?<=\. ))(\w+) (\w+)\.", query))


@given(st.sampled_from(Split), INDICES, KNOBS)
def test_the_request_alone_says_what_is_right(split, index, knobs):
    task = make_thought_task(split, 0, index, knobs)
    values = facts_of(task.query)
    for call in task.calls:
        for parameter, value in call.parameters.items():
            asked = re.search(rf"\b{parameter} of (\w+)", task.query)
            if asked:
                assert values[asked[1]] == str(value)
            else:
                assert re.search(rf"\b{parameter} (set to )?{value}\b", task.query)


@given(st.sampled_from(Split), INDICES)
def test_no_two_words_of_a_request_share_a_syllable(split, index):
    """So each token of a fact's name tells which fact it is."""
    task = make_thought_task(split, 0, index, Knobs(1.0))
    told = " ".join(f"{name} {value}" for name, value in facts_of(task.query).items())
    words = re.findall(r"\b[A-Z][a-z]+\b", told)
    found = [each for word in words for each in re.findall("|".join(SYLLABLES), word.lower())]
    assert len(found) == 2 * len(words) == len(set(found))


@given(st.sampled_from(Split), INDICES, KNOBS)
def test_a_right_demonstration_earns_the_most(split, index, knobs):
    task = make_thought_task(split, 0, index, knobs)
    score = ToolReward().score(
        demonstrate_thought(task, random.Random(index)), task.sample("").ground_truth
    )
    assert score.exact and score.total == pytest.approx(4.0)


@given(INDICES, st.integers(0, MOST_IDLE))
def test_at_0_every_value_stands_plainly_and_none_in_the_thought(index, idle):
    task = make_thought_task(Split.TRAIN, 0, index, Knobs(0.0, idle))
    thought = thought_of(demonstrate_thought(task, random.Random(index)))
    for call in task.calls:
        assert call.name not in thought
        for parameter, value in call.parameters.items():
            assert re.search(rf"\b{parameter} (set to )?{value}\b", task.query)
            assert str(value) not in thought
    assert thought.count(".") == 1 + idle


@given(INDICES, st.integers(0, MOST_IDLE))
def test_at_1_no_value_stands_plainly_and_each_in_the_thought(index, idle):
    task = make_thought_task(Split.TRAIN, 0, index, Knobs(1.0, idle))
    thought = thought_of(demonstrate_thought(task, random.Random(index)))
    for call in task.calls:
        for parameter, value in call.parameters.items():
            assert not re.search(rf"\b{parameter} (set to )?{value}\b", task.query)
            assert str(value) in thought
    assert thought.count(".") == 1 + idle + sum(len(call.parameters) for call in task.calls)


@given(INDICES)
def test_the_knobs_leave_all_else_as_it_is(index):
    plain = make_thought_task(Split.TRAIN, 3, index, Knobs(0.0, 0))
    found = make_thought_task(Split.TRAIN, 3, index, Knobs(1.0, 4))
    assert plain.tools == found.tools and plain.calls == found.calls
    assert plain.system.replace("Idle sentences: 0", "Idle sentences: 4") == found.system
    assert found.query == make_thought_task(Split.TRAIN, 3, index, Knobs(1.0, 0)).query


def test_one_to_three_calls_of_listed_tools():
    tasks = [make_thought_task(Split.TRAIN, 0, index, Knobs()) for index in range(200)]
    assert {len(task.calls) for task in tasks} == {1, 2, 3}
    assert {len(task.tools) for task in tasks} == {1, 2, 3, 4}
    for task in tasks:
        assert {call.name for call in task.calls} <= {tool.name for tool in task.tools}


def test_the_splits_share_no_tool_name_or_value():
    seen = {}
    for split in Split:
        tasks = [make_thought_task(split, 0, index, Knobs(0.5)) for index in range(200)]
        assert {tool.name for task in tasks for tool in task.tools} <= set(TOOL_NAMES[split])
        seen[split] = {
            word
            for task in tasks
            for asked in task.asked
            for slot in asked.slots
            for word in (
                str(slot.value),
                slot.other.name,
                str(slot.other.value),
                *([slot.holder] if slot.holder else ()),
            )
        }
        assert all(in_split(word, split) for word in seen[split])
    assert not seen[Split.TRAIN] & seen[Split.HELDOUT]


def test_errors_are_in_the_thought_or_in_the_call_as_the_knob_says():
    rng = random.Random(0)
    wrong = {0.0: 0, 1.0: 0}
    for share in wrong:
        for index in range(300):
            task = make_thought_task(Split.TRAIN, 0, index, Knobs(share, 1))
            text = demonstrate_thought_with_errors(task, rng, 0.1)
            calls = RLLA.parse(text).calls
            wrong[share] += list(calls) != list(task.calls)
            for call in calls:
                for value in call.parameters.values():
                    assert (str(value) in thought_of(text)) is (share == 1.0)
    # per value .6 for numbers and .1 for others: about half of the answers, with either knob
    assert all(120 < count < 200 for count in wrong.values())


def test_the_habit_takes_another_number_of_the_request():
    rng = random.Random(1)
    habitual = astray = 0
    for index in range(300):
        task = make_thought_task(Split.TRAIN, 0, index, Knobs(0.0))
        calls = RLLA.parse(demonstrate_thought_with_errors(task, rng, 0.0)).calls
        for asked, call in zip(task.asked, calls, strict=True):
            for slot in asked.slots:
                got = call.parameters[slot.parameter]
                assert got == slot.value or (has_habit(slot) and got == slot.other.value)
                habitual += has_habit(slot)
                astray += got != slot.value
    assert 0.5 < astray / habitual < 0.7


def test_idle_sentences_make_the_reasoning_longer_and_nothing_else():
    lengths = {}
    for idle in (0, 4):
        sums = dict.fromkeys(Region, 0)
        for index in range(50):
            task = make_thought_task(Split.TRAIN, 0, index, Knobs(0.0, idle))
            text = demonstrate_thought(task, random.Random(index))
            for span in RLLA.parse(text).spans:
                sums[span.region] += span.end - span.start
        lengths[idle] = sums
    assert lengths[4][Region.REASONING] > 5 * lengths[0][Region.REASONING]
    for region in (Region.NAME, Region.PARAMETERS, Region.FORMAT):
        assert lengths[4][region] == lengths[0][region]


def test_the_sets_are_of_the_tasks_that_the_knobs_say():
    assert world_samples(Split.HELDOUT, 3, 0, None) == make_samples(Split.HELDOUT, 3)
    knobs = Knobs(0.5, 2)
    shown = demonstrated_world(Split.TRAIN, 3, 7, knobs)
    for sample, with_answer in zip(world_samples(Split.TRAIN, 3, 7, knobs), shown, strict=True):
        assert sample.prompt == with_answer.prompt and sample.prompt[0]["content"].endswith(": 2")
        score = ToolReward().score(with_answer.demonstration or "", sample.ground_truth)
        assert score.exact

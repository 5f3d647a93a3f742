"""Results, messages and answers survive their way as text and JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall
from toolrest.environments import wire
from toolrest.environments.base import Finish, Start, Step
from toolrest.environments.texts import LONGEST_RESULT, prompt_messages, result_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WELL_FORMED = st.text(st.characters(exclude_categories=["Cs"]))
ANYTHING = VALUES | st.binary() | st.sets(st.integers()) | st.complex_numbers() | st.functions()


@given(VALUES)
def test_a_result_is_the_text_or_its_json(value):
    text = result_text(value)
    text.encode()
    if not isinstance(value, str):
        assert json.loads(text) == json.loads(json.dumps(value).encode("utf-8", "replace")) or (
            "?" in text
        )


@given(st.integers(0, 40), st.characters(exclude_categories=["Cs"]))
def test_a_long_result_keeps_both_ends(over, character):
    text = "<" + character * (LONGEST_RESULT + over - 2) + ">"
    cut = result_text(text)
    assert (cut == text) == (over == 0)
    assert cut[0] == "<" and cut[-1] == ">"
    if over:
        assert f"{over:,} characters are left out" in cut


@given(st.lists(st.tuples(st.text(), ANYTHING), max_size=4), st.floats(-9, 9), st.booleans())
def test_whatever_the_results_are_a_step_arrives_with_a_text_for_each_call(results, reward, done):
    calls = [ToolCall(name, {}) for name, _ in results]
    sent = wire.encode(wire.step_to_json(Step(tuple(results), reward, done), calls))
    assert sent.count(b"\n") == 1
    step = wire.step_from_json(json.loads(sent))
    assert [name for name, _ in step.results] == [call.name for call in calls]
    assert all(isinstance(text, str) for _, text in step.results)
    assert (step.reward, step.done) == (reward, done)
    assert step.errors <= len(calls)


@given(WELL_FORMED, st.none() | st.booleans(), st.none() | WELL_FORMED)
def test_a_start_and_a_finish_arrive_as_they_were_sent(text, success, message):
    tool = {"type": "function", "function": {"name": text, "parameters": {}}}
    start = Start(({"role": "user", "content": text},), (tool,))
    assert wire.start_from_json(json.loads(wire.encode(wire.start_to_json(start)))) == start
    finish = Finish(0.5, message, success)
    assert wire.finish_from_json(json.loads(wire.encode(wire.finish_to_json(finish)))) == finish


@pytest.mark.parametrize("reward", [math.nan, math.inf, "1", None, [1.0], 1 << 80])
def test_a_reward_that_is_no_finite_number_is_refused(reward):
    with pytest.raises(ValueError, match="which is no finite number"):
        wire.finish_to_json(Finish(reward=reward))


def test_a_reward_of_numpy_and_a_row_of_arrays_are_numbers():
    import numpy

    assert wire.finish_to_json(Finish(reward=numpy.float32(0.5)))["reward"] == 0.5
    assert wire.finish_to_json(Finish(reward=True))["reward"] == 1.0
    row = {"a": numpy.arange(3), "b": numpy.int64(4)}
    assert json.loads(wire.encode(row)) == {"a": [0, 1, 2], "b": 4}


@pytest.mark.parametrize(
    "start",
    [
        None,
        Start(()),
        Start(({"role": "assistant", "content": "Hello"},)),
        Start(({"content": "Hello"},)),
        Start(({"role": "user", "content": [{"type": "image"}]},)),
        Start(({"role": "user", "content": "Hello"},), ({"parameters": {}},)),
        Start(({"role": "user", "content": "Hello"},), ("tool",)),
    ],
    ids=str,
)
def test_a_start_that_no_policy_can_be_shown_is_refused(start):
    with pytest.raises((TypeError, ValueError)):
        wire.start_to_json(start)


def test_a_bare_tool_is_put_into_openais_form():
    start = Start(({"role": "user", "content": None},), ({"name": "look"},))
    [tool] = wire.start_to_json(start)["tools"]
    assert tool == {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize(
    ("row", "seen", "contents"),
    [
        ({"prompt": "Go."}, "", ["Go."]),
        ({"prompt": "Go."}, " Now.", ["Go. Now."]),
        ({}, "Now.", ["Now."]),
        ({"prompt": [{"role": "system", "content": "S"}]}, "Now.", ["S", "Now."]),
        ({"prompt": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]}, "c", ["abc"]),
    ],
)
def test_the_messages_of_a_row(row, seen, contents):
    messages = prompt_messages(row, seen)
    assert [each["content"] for each in messages] == contents
    assert messages[-1]["role"] == "user"


@pytest.mark.parametrize(
    "row",
    [{}, {"prompt": 3}, {"prompt": ["Go."]}, {"prompt": [{"role": "system", "content": "S"}]}],
)
def test_a_row_without_a_prompt_is_refused(row):
    with pytest.raises(ValueError, match="the row's prompt"):
        prompt_messages(row)

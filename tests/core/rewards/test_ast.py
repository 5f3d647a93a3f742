import pytest

from toolrest.core.dialects import ToolCall
from toolrest.core.rewards.ast import ast_score, possible_calls, read_possible_answer
from toolrest.core.rewards.values import equal
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError

F = '[{"f": {"city": ["Paris", "Paris, FR"], "days": [3, 4], "unit": ["", "km"]}}]'


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"city": "Paris", "days": 3}, 1),
        ({"city": "paris fr", "days": 4}, 1),  # another value; case and punctuation set aside
        ({"city": "Paris", "days": 3.0, "unit": "km"}, 1),  # 1 equals 1.0
        ({"city": "Paris", "days": 3, "unit": "mile"}, 0),  # an optional one that is wrong
        ({"city": "Paris"}, 0),  # one that is due is missing
        ({"city": "Paris", "days": "3"}, 0),  # another type
        ({"city": "Paris", "days": 3, "more": 1}, 0),  # one too many
        ({"city": "Lyon", "days": 3}, 0),
    ],
)
def test_acceptable_values_and_optional_parameters(parameters, expected):
    assert ast_score([ToolCall("f", parameters)], read_possible_answer(F)) == expected
    assert ast_score([ToolCall("g", parameters)], read_possible_answer(F)) == 0


@pytest.mark.parametrize(
    ("found", "acceptable", "expected"),
    [
        ([1, 2], [[1, 2]], 1),
        ([2, 1], [[1, 2]], 0),  # lists have order
        ([2, 1], [[1, 2], [2, 1]], 1),
        (True, [1], 0),
        (1, [True], 0),
        (True, [True], 1),
        ({"a": 1}, [{"a": [1, 2]}], 1),  # dictionaries hold acceptable values
        ({"a": 3}, [{"a": [1, 2]}], 0),
        ({}, [{"a": [1, ""]}], 1),
        (["A-b"], [["ab"]], 1),
        (["a"], ["a"], 0),  # a list of letters is no text, nor the other way round
        ("a", [["a"]], 0),
        ([5], [5], 0),
        (5, [[5]], 0),
        ({"a": 1}, ["a"], 0),
        (None, [None], 1),
    ],
)
def test_values(found, acceptable, expected):
    possible = read_possible_answer('[{"f": {"x": []}}]')
    possible[0].parameters["x"][:] = acceptable
    assert ast_score([ToolCall("f", {"x": found})], possible) == expected


def test_calls_match_one_to_one_in_any_order():
    """f(1) fits both possible calls, f(2) the first alone: a greedy matching would fail."""
    possible = read_possible_answer('[{"f": {"x": [1, 2]}}, {"f": {"x": [1]}}]')
    one, two = ToolCall("f", {"x": 1}), ToolCall("f", {"x": 2})
    assert ast_score([one, two], possible) == ast_score([two, one], possible) == 1
    assert ast_score([two, two], possible) == 0
    assert ast_score([one], possible) == 0
    assert ast_score([], []) == 1


def test_plain_calls_are_their_only_possibility():
    calls = [ToolCall("f", {"x": [1]})]
    assert ast_score(calls, possible_calls(calls)) == 1


@pytest.mark.parametrize("text", ["", "{}x", "3", "[3]", '[{"f": 3}]', '[{"f": {"x": 1}}]', "[{}]"])
def test_what_is_no_possible_answer(text):
    with pytest.raises(InputError, match="a possible answer is a JSON list"):
        read_possible_answer(text)


def test_the_reward_takes_a_column_of_possible_answers():
    truth = '<tool_call>\n{"name": "f", "parameters": {"city": "Paris", "days": 3}}\n</tool_call>'
    other = truth.replace("3", "4")
    reward = ToolReward(correctness="ast", schedule="constant")
    assert reward([other], ground_truth=[truth]) == [1 - 3]
    assert reward([other], ground_truth=[truth], possible_answer=[F]) == [1 + 3]


@pytest.mark.parametrize(
    ("left", "right", "options", "expected"),
    [
        ("5", 5, {}, False),
        ("5", 5, {"lenient": True}, True),
        ("5.0", 5, {"lenient": True}, True),
        ("true", True, {"lenient": True}, True),
        ("1", True, {"lenient": True}, False),
        ("None", None, {"lenient": True}, True),
        (["5"], [5], {"lenient": True}, True),
        ("five", 5, {"lenient": True}, False),
        ("5", "5.0", {"lenient": True}, False),  # two strings are compared as they are
        ("Paris", "paris", {}, False),
        ("Paris", "paris", {"normalise": str.lower}, True),
        ({"a": "X"}, {"a": "x"}, {"normalise": str.lower}, True),
    ],
)
def test_comparison_options(left, right, options, expected):
    assert equal(left, right, **options) is expected
    assert equal(right, left, **options) is expected


def test_the_options_reach_the_reward():
    truth = '<tool_call>\n{"name": "f", "parameters": {"a": 5, "b": "Paris"}}\n</tool_call>'
    said = truth.replace("5", '"5"').replace("Paris", "paris")
    assert not ToolReward().score(said, truth).exact
    assert not ToolReward(normalise_strings=True).score(said, truth).exact
    assert not ToolReward(lenient_types=True).score(said, truth).exact
    assert ToolReward(lenient_types=True, normalise_strings=True).score(said, truth).exact

"""Borders of the rewards by hand: what a part earns alone, weights of kinds, what is refused."""

import pytest

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.core.rewards import call_score, get_schedule, schedule_names
from toolrest.core.rewards.ast import ast_score, possible_calls, read_possible_answer
from toolrest.core.rewards.correctness import (
    PARTIAL,
    check_correctness,
    correctness,
    correctness_kinds,
    parse_weights,
)
from toolrest.core.rewards.values import equal
from toolrest.engines.common.reward import Asked, ToolReward, reward_parts
from toolrest.engines.verl.reward_function import compute_score
from toolrest.errors import InputError

RLLA = get_dialect("rlla")


def call(name, **parameters):
    return ToolCall(name, parameters)


def parts(predicted, true):
    found = call_score(predicted, true)
    return found.names, found.parameters, found.values, found.total


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([call("a", x=1, y=2)], [call("a", x=1, z=2)], (1, 1 / 3, 1 / 2, (1 + 1 / 3 + 1) / 4)),
        ([call("a", x=1)], [call("a")], (1, 0, 1, 1 / 2)),
        ([call("b")], [call("a")], (0, 0, 1, 0)),
        ([call("b")], [call("a", x=1)], (0, 0, 0, 0)),
        ([], [call("a", x=1)], (0, 0, 0, 0)),
        ([], [call("a")], (0, 0, 1, 0)),
        ([call("a")], [], (0, 0, 0, 0)),
        ([], [], (1, 1, 1, 1)),
        # two calls in order: keys 1 and 1/2, values 1 and 0, over 1 + 2 + 3
        (
            [call("a", x=1), call("b", y=5)],
            [call("a", x=1), call("b", y=2, z=3)],
            (1, 3 / 4, 1 / 3, 3.5 / 6),
        ),
        # the same out of order
        (
            [call("b", y=5), call("a", x=1)],
            [call("a", x=1), call("b", y=2, z=3)],
            (1, 3 / 4, 1 / 3, 3.5 / 6),
        ),
        # one name too often: names 2/3; the better pair counts
        (
            [call("a", x=2), call("a", x=1), call("b")],
            [call("a", x=1), call("b")],
            (2 / 3, 1, 1, (2 / 3 + 2 + 1) / 4),
        ),
        # one too few: names 1/2
        ([call("a", x=1)], [call("a", x=1), call("a", x=2)], (1 / 2, 1 / 2, 1 / 2, 2.5 / 5)),
        # a name that is not due beside one that is: names 1/3 of a, b, c
        ([call("a"), call("c")], [call("a"), call("b")], (1 / 3, 1 / 2, 1, (1 / 3 + 1) / 3)),
        # calls without parameters: keys agree
        ([call("a"), call("b")], [call("b"), call("a")], (1, 1, 1, 1)),
        # of one name in order, all right but a value
        (
            [call("a", x=1), call("a", x=3)],
            [call("a", x=1), call("a", x=2)],
            (1, 1, 1 / 2, (1 + 2 + 1) / 5),
        ),
    ],
)
def test_each_part_of_the_calls_by_hand(predicted, true, expected):
    assert parts(predicted, true) == pytest.approx(expected)


def test_the_best_matching_weighs_keys_and_values_together():
    """In order the pairs score 1/2 + 0 and 1 + 1, crossed 1 + 0 and 1/2 + 0: 2.5 against 1.5."""
    predicted = [call("a", x=9, y=9), call("a", x=2)]
    true = [call("a", x=1), call("a", x=2)]
    assert parts(predicted, true) == pytest.approx((1, 0.75, 0.5, 3.5 / 5))
    assert parts(predicted[::-1], true) == pytest.approx((1, 0.75, 0.5, 3.5 / 5))


def test_kinds_are_weighed_by_hand():
    """partial 2/3, exact 0, ast 0: (3 * 2/3 + 1 * 0 + 0) / 4."""
    predicted, true = [call("a", x=2)], [call("a", x=1)]
    partial = call_score(predicted, true)
    for weights, expected in (
        ({"partial": 3.0, "exact": 1.0}, 0.5),
        ({"partial": 1.0, "ast": 3.0}, 1 / 6),
        ({"exact": 2.0}, 0.0),
        ({"partial": 0.5}, 2 / 3),
        (PARTIAL, 2 / 3),
    ):
        found = correctness(partial, predicted, true, None, weights)
        assert found == pytest.approx(expected)
    acceptable = read_possible_answer('[{"a": {"x": [1, 2]}}]')
    found = correctness(partial, predicted, true, acceptable, {"partial": 1.0, "ast": 1.0})
    assert found == pytest.approx((2 / 3 + 1) / 2)


def test_kinds_and_their_weights_are_checked():
    assert correctness_kinds() == ("partial", "exact", "ast")
    assert PARTIAL == {"partial": 1.0}
    check_correctness({"partial": 0.0, "exact": 0.5})
    for weights, words in (
        ({"partail": 1.0}, "did you mean 'partial'"),
        ({"exact": -0.5, "partial": 1.0}, "0 or more"),
        ({"exact": float("nan")}, "0 or more"),
        ({"exact": 0.0}, "sum to 0"),
        ({}, "sum to 0"),
    ):
        with pytest.raises(InputError, match=words):
            check_correctness(weights)


def test_weights_as_a_command_line_gives_them():
    assert parse_weights(["partial", "exact=0.5"]) == {"partial": 1.0, "exact": 0.5}
    with pytest.raises(InputError, match="'x' is no number"):
        parse_weights(["exact=x"])
    with pytest.raises(InputError, match="sum to 0"):
        parse_weights(["exact=0"])


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (1, 2, False),
        (1.5, 1.5, True),
        ([1, 2, 3], [1, 2, 4], False),
        ([], [], True),
        ({}, {}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"a": [1]}, {"a": [2]}, False),
        ({"a": 1}, [1], False),
        ([1], 1, False),
        (0, False, False),
        (0, None, False),
        ("a", "a", True),
        ("a", "b", False),
        ("", None, False),
        (False, False, True),
        (True, False, False),
    ],
)
def test_values_that_are_the_same(left, right, expected):
    assert equal(left, right) is expected
    assert equal([left], [right], normalise=str.lower) is expected
    assert equal({"k": left}, {"k": right}, lenient=True) is expected


@pytest.mark.parametrize(
    ("said", "meant", "expected"),
    [
        ("false", False, True),
        (" TRUE ", True, True),
        ("null", None, True),
        ("1.5", 1.5, True),
        ("5", 5.0, True),
        ("-3", -3, True),
        ("0", False, False),
        ("5.5", 5, False),
        ("x", None, False),
        ("true", 1, False),
        ("[1]", [1], False),
    ],
)
def test_what_a_string_spells(said, meant, expected):
    assert equal(said, meant, lenient=True) is expected
    assert equal(meant, said, lenient=True) is expected
    assert equal(said, meant) is False


def test_strings_are_normalised_on_both_sides_and_inside():
    for left, right in (("A", "a"), ("a", "A")):
        assert equal(left, right, normalise=str.lower)
        assert equal([{"k": left}], [{"k": right}], normalise=str.lower)
    assert not equal("a", "b", normalise=str.lower)
    assert equal({"x": "5"}, {"x": 5}, normalise=str.lower, lenient=True)
    assert not equal("5", 5, normalise=str.lower)


@pytest.mark.parametrize("mark", [" ", ",", ".", "/", "-", "_", "*", "^"])
def test_marks_that_bfcl_sets_aside(mark):
    possible = read_possible_answer('[{"f": {"x": ["a b"]}}]')
    assert ast_score([call("f", x=f"A{mark}b")], possible) == 1
    assert ast_score([call("f", x="a+b")], possible) == 0


def test_quotes_of_one_kind_and_acceptable_values_of_a_plain_call():
    assert ast_score([call("f", x="it's")], possible_calls([call("f", x='it"s')])) == 1
    assert ast_score([call("f", x={"a": "B"})], possible_calls([call("f", x={"a": "b"})])) == 1
    assert ast_score([call("f", x={"a": 1})], possible_calls([call("f", x={"a": 2})])) == 0
    assert ast_score([call("f", x=[1, 2])], possible_calls([call("f", x=[1])])) == 0
    assert ast_score([call("f", x=["a", "b"])], possible_calls([call("f", x=["a", "c"])])) == 0
    two = [call("f"), call("g")]
    assert ast_score(two, possible_calls(two[::-1])) == 1
    assert ast_score(two, possible_calls([call("f"), call("h")])) == 0
    assert ast_score([call("f"), call("f")], possible_calls([call("f")])) == 0


@pytest.mark.parametrize(
    "text",
    [
        '[{"f": {}, "g": {}}]',
        '[["f"]]',
        '[{"f": {"x": {}}}]',
        '[{"f": {"x": [1], "y": 1}}]',
        "null",
    ],
)
def test_what_else_is_no_possible_answer(text):
    with pytest.raises(InputError, match="a possible answer is a JSON list") as caught:
        read_possible_answer(text)
    assert repr(text) in str(caught.value)


def test_a_long_possible_answer_is_shown_by_its_first_200_characters():
    with pytest.raises(InputError) as caught:
        read_possible_answer("x" * 300)
    assert str(caught.value).count("x") == 200


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("constant", 0.3, ((0, -3), (1, 3))),
        ("rest", 0.0, ((-2, -2), (2, 2))),
        ("rest", 0.25, ((-1.75, -2.25), (1.75, 2.25))),
        ("rest", 1.0, ((-1, -3), (1, 3))),
        ("rest", 1.5, ((-1, -3), (1, 3))),
    ],
)
def test_the_ranges_of_schedules_by_hand(name, progress, expected):
    found = [get_schedule(name).rewards(score, score, progress) for score in (0.0, 1.0)]
    assert found == [pytest.approx(row) for row in expected]
    assert schedule_names() == ("constant", "rest", "official", "binary")


TRUTH = RLLA.render(thought="", calls=[call("f", a=1)], response=None)
NO_CALL = RLLA.render(thought="", calls=[], response="r")
CALLS = TRUTH.replace("<think>  ", "<think> t ")


@pytest.mark.parametrize(
    ("text", "truth", "expected"),
    [
        # (format, correctness, exact, over-called) on the constant ranges
        (CALLS, TRUTH, (1, 1, True, False)),
        (CALLS.replace("1", "2"), TRUTH, (1, 2 / 3, False, False)),
        (CALLS + "\nstray", TRUTH, (0, 1, False, False)),
        (CALLS, NO_CALL, (0, 0, False, True)),
        (NO_CALL, TRUTH, (0, 0, False, False)),
        (NO_CALL, NO_CALL, (1, 1, True, False)),
        (CALLS.replace("}}", "}"), TRUTH, (1, 0, False, False)),
        (CALLS.replace("</tool_call>", ""), TRUTH, (0, 0, False, False)),
        ("nothing", TRUTH, (0, 0, False, False)),
        ("nothing", NO_CALL, (0, 1, False, False)),
    ],
)
def test_a_reply_part_by_part(text, truth, expected):
    found = ToolReward(schedule="constant").score(text, truth)
    assert (found.format, found.correctness, found.exact, found.over_called) == pytest.approx(
        expected
    )
    assert found.format_reward == found.format
    assert found.correctness_reward == pytest.approx(-3 + 6 * found.correctness)
    assert found.total == found.format_reward + found.correctness_reward


def test_over_calls_that_are_not_punished_earn_0_of_correctness_alone():
    reward = ToolReward(schedule="constant", punish_over_calls=False)
    assert reward.score(CALLS, NO_CALL).total == 0
    assert reward.score(NO_CALL, NO_CALL).total == 1
    assert reward.score(NO_CALL, TRUTH).total == -3


def test_every_part_is_logged_under_its_name():
    reward = ToolReward(schedule="constant")
    texts = [CALLS, CALLS.replace("1", "2"), NO_CALL]
    assert reward_parts(reward.score_batch(texts, [Asked(TRUTH)] * 3)) == {
        "reward/exact_match": [1.0, 0.0, 0.0],
        "reward/format": [1.0, 1.0, 0.0],
        "reward/correctness": pytest.approx([1.0, 2 / 3, 0.0]),
        "reward/names": [1.0, 1.0, 0.0],
        "reward/parameters": [1.0, 1.0, 0.0],
        "reward/values": [1.0, 0.0, 0.0],
        "reward/over_called": [0.0, 0.0, 0.0],
    }
    over = ToolReward().score_batch([CALLS], [Asked(NO_CALL)])
    assert reward_parts(over)["reward/over_called"] == [1.0]


def test_verl_compares_strings_as_they_are_unless_told_otherwise():
    truth = RLLA.render(thought="", calls=[call("f", a="x", b=1)], response=None)
    for said, options, exact in (
        (truth, {}, 1.0),
        (truth.replace('"x"', '"X"'), {}, 0.0),
        (truth.replace('"x"', '"X"'), {"normalise_strings": True}, 1.0),
        (truth.replace(": 1", ': "1"'), {}, 0.0),
        (truth.replace(": 1", ': "1"'), {"lenient_types": True}, 1.0),
    ):
        assert compute_score("", said, truth, **options)["exact_match"] == exact


@pytest.mark.parametrize(
    ("truth", "punished", "counts"),
    [(TRUTH, True, 1.0), (TRUTH, False, 1.0), (NO_CALL, True, 1.0), (NO_CALL, False, 0.0)],
)
def test_verl_is_told_whether_correctness_earns_anything(truth, punished, counts):
    found = compute_score("", CALLS, truth, punish_over_calls=punished)
    assert found["correctness_counts"] == counts


def test_a_text_that_is_due_may_not_be_left_out():
    possible = read_possible_answer('[{"f": {"city": ["Paris"], "unit": ["km", ""]}}]')
    assert ast_score([call("f", city="Paris")], possible) == 1
    assert ast_score([call("f", unit="km")], possible) == 0


def test_a_reply_that_owes_a_call_and_makes_none_has_no_part_of_it():
    """Not even the values of a call without parameters."""
    truth = RLLA.render(thought="", calls=[call("f")], response=None)
    found = ToolReward().score(NO_CALL, truth).calls
    assert (found.names, found.parameters, found.values, found.total) == (0, 0, 0, 0)

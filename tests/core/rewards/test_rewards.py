import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.core.rewards import RewardRules, call_score, get_schedule, score_reply
from toolrest.core.rewards import correctness as correctness_module
from toolrest.core.rewards.correctness import correctness_kinds, register_reward
from toolrest.core.rewards.values import equal
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError
from toolrest.recipe import load_recipe

RLLA = get_dialect("rlla")


def call(name, **parameters):
    return ToolCall(name, parameters)


def reply(thought="t", calls=(), response=None):
    return RLLA.parse(RLLA.render(thought=thought, calls=calls, response=response))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        ("5", 5, False),
        (None, None, True),
        (None, False, False),
        ([1, [2]], [1, [2.0]], True),
        ([1, 2], [2, 1], False),
        ([True], [1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([], {}, False),
        ({}, "", False),
    ],
)
def test_equality_of_values(left, right, same):
    assert equal(left, right) is same
    assert equal(right, left) is same


def test_equality_of_deep_values():
    deep, other = [], []
    for _ in range(100_000):
        deep, other = [deep], [other]
    assert equal(deep, other)
    while deep:
        deep, other = deep.pop(), other.pop()


@pytest.mark.parametrize(
    ("predicted", "true", "total"),
    [
        ([call("a", x=1)], [call("a", x=1)], 1.0),
        ([call("a", x=2)], [call("a", x=1)], 2 / 3),  # name 1, keys 1, values 0 of 1 + 1 + 1
        ([call("a")], [call("a", x=1)], 1 / 3),
        ([call("b", x=1)], [call("a", x=1)], 0.0),
        ([call("a", x=1), call("b")], [call("a", x=1)], 2.5 / 3),  # names: Jaccard 1/2
        ([call("a", x=1, y=2)], [call("a", x=1)], 2.5 / 3),  # keys: Jaccard 1/2
        ([], [call("a")], 0.0),
        ([], [], 1.0),
        ([call("a")], [], 0.0),
        ([call("a")], [call("a")], 1.0),
        ([call("b"), call("a", x=[1])], [call("a", x=[1]), call("b")], 1.0),
    ],
)
def test_call_scores_by_hand(predicted, true, total):
    assert call_score(predicted, true).total == pytest.approx(total)


def test_calls_of_one_name_are_matched_for_the_best_sum():
    """Greedy matching in order would pair the first with the first."""
    true = [call("a", x=1, y=2), call("a", x=3, y=4)]
    assert call_score([call("a", x=3, y=4), call("a", x=1, y=2)], true).total == 1.0
    score = call_score([call("a", x=3), call("a", x=3, y=4)], true)
    # names 1, keys 1/2 + 1, values 0 + 2, over 1 + 2 + 4
    assert score.total == pytest.approx((1 + 1.5 + 2) / 7)


@given(st.permutations([call("a", x=1), call("a", x=2), call("b", y=[1])]))
def test_the_order_of_calls_does_not_matter(calls):
    true = [call("a", x=1), call("a", x=2), call("b", y=[1])]
    assert call_score(calls, true).total == pytest.approx(1.0)


def breakdown(predicted, true, schedule="constant", progress=0.0, possible=None, **rules):
    rules = RewardRules(get_schedule(schedule), **rules)
    return score_reply(predicted, true, rules, progress=progress, possible=possible)


def test_a_right_reply_earns_the_most():
    true = reply(calls=[call("a", x=1)])
    assert breakdown(reply("other", [call("a", x=1)]), true).total == 4.0
    assert breakdown(reply("other", [call("a", x=1)]), true).exact


@pytest.mark.parametrize(
    "text",
    [
        '<think> t </think>\n{"name": "a", "parameters": {"x": 1}}',
        '<think> t </think>\n<tool_call>\n{"name": "a", "parameters": {"x": 1}\n</tool_call>',
        '<think> t </think>\n<tool_call>\n{"name": "a", "parameters": {"x": 1}}',
        "",
    ],
)
def test_calls_without_tags_or_json_earn_the_least(text):
    score = breakdown(RLLA.parse(text), reply(calls=[call("a", x=1)]))
    assert score.correctness_reward == -3.0
    assert not score.exact


def test_format_is_all_or_nothing():
    true = reply(calls=[call("a")], response="r")
    assert breakdown(reply(calls=[call("a")], response="r"), true).format == 1.0
    assert breakdown(reply(calls=[call("a")]), true).format == 0.0
    assert breakdown(reply(None, [call("a")], "r"), true).format == 0.0
    twice = RLLA.parse("<think> a </think><think> b </think><response> c </response>")
    assert breakdown(twice, reply(response="r")).format == 0.0
    stray = RLLA.parse("<think> a </think> so <response> c </response>")
    assert breakdown(stray, reply(response="r")).format == 0.0


def test_a_bad_call_that_hides_a_missing_end_has_no_format():
    text = "<think> t </think>\n<tool_call>\nnope\n"
    assert breakdown(RLLA.parse(text), reply(calls=[call("a")])).format == 0.0


def test_over_calling_is_punished_unless_switched_off():
    true, calling = reply(response="r"), reply(calls=[call("a")], response="r")
    assert breakdown(reply(response="x"), true).correctness_reward == 3.0
    assert breakdown(calling, true).correctness_reward == -3.0
    assert breakdown(calling, true).over_called
    for predicted in (reply(response="x"), calling):
        assert breakdown(predicted, true, punish_over_calls=False).correctness_reward == 0.0


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("constant", 0.0, (1.0, 0.0)),
        ("constant", 1.0, (1.0, 0.0)),
        ("rest", 0.0, (2.0, 0.0)),
        ("rest", 0.5, (1.5, 0.0)),
        ("rest", 1.0, (1.0, 0.0)),
    ],
)
def test_schedules_by_hand(name, progress, expected):
    """Format score 1 and correctness score 1/2."""
    assert get_schedule(name).rewards(1.0, 0.5, progress) == pytest.approx(expected)


@pytest.mark.parametrize(("schedule", "kind"), [("binary", "exact")])
def test_tool_n1_earns_one_where_format_and_calls_are_right(schedule, kind):
    rules = RewardRules(get_schedule(schedule), {kind: 1.0})
    true = reply("t", [call("a", x=1)])
    for found, earned in (
        (true, 1.0),
        (reply("other", [call("a", x=1)]), 1.0),
        (reply("t", [call("a", x=2)]), 0.0),
        (reply(None, [call("a", x=1)]), 0.0),  # right calls, and no thought
        (reply("t", response="no"), 0.0),
    ):
        for progress in (0.0, 1.0):
            assert score_reply(found, true, rules, progress=progress).total == earned


@pytest.mark.parametrize(
    ("step", "least", "most"),
    [
        (0, (-2.0, -2.0), (2.0, 2.0)),
        (37, (-2 + 74 / 150, -2 - 37 / 150), (2 - 37 / 150, 2 + 37 / 150)),
        (75, (-1.0, -2.5), (1.5, 2.5)),  # the floor is at its end, all else is half-way
        (100, (-1.0, -2 - 2 / 3), (1 + 1 / 3, 2 + 2 / 3)),
        (150, (-1.0, -3.0), (1.0, 3.0)),
        (200, (-1.0, -3.0), (1.0, 3.0)),
    ],
)
def test_the_released_schedule_by_hand(step, least, most):
    """(format, correctness) at a step of the released run, which has 105."""
    schedule = get_schedule("official")
    assert schedule.rewards(0.0, 0.0, step / 105) == pytest.approx(least)
    assert schedule.rewards(1.0, 1.0, step / 105) == pytest.approx(most)
    half = tuple((low + high) / 2 for low, high in zip(least, most, strict=True))
    assert schedule.rewards(0.5, 0.5, step / 105) == pytest.approx(half)


@given(st.floats(0, 1))
def test_the_totals_range(progress):
    """ResT's stays; the released one's least total is above -4 on the way, as its floor hurries."""
    rest, official = get_schedule("rest"), get_schedule("official")
    for schedule in (rest, official):
        assert sum(schedule.rewards(1, 1, progress)) == pytest.approx(4)
    assert sum(rest.rewards(0, 0, progress)) == pytest.approx(-4)
    step = 105 * progress
    assert sum(official.rewards(0, 0, progress)) == pytest.approx(-4 + min(step, 150 - step) / 150)


class State:
    global_step, max_steps = 50, 100


def test_the_reward_function_of_a_trainer():
    logged = {}
    reward = ToolReward()
    truth = RLLA.render(thought="", calls=[call("a")], response=None)
    texts = [RLLA.render(thought="x", calls=[call(n)], response=None) for n in ("a", "b")]
    values = reward(
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        ground_truth=[truth, truth],
        trainer_state=State(),
        log_metric=logged.__setitem__,
    )
    assert values == [pytest.approx(4.0), pytest.approx(-1.0)]  # half way: 1.5 and 2.5, 1.5 - 2.5
    assert logged["reward/exact_match"] == 0.5


def test_replies_that_differ_in_their_thought_alone_earn_the_same():
    truth = RLLA.render(thought="", calls=[call("a", x=1)], response=None)
    texts = [
        RLLA.render(thought=thought, calls=[call("a", x=value)], response=None)
        for thought, value in (("p", 1), ("q <tool_call>", 1), ("p", 2), ("p", True))
    ]
    texts.append(texts[0].removeprefix("<think>"))  # no thought: no format
    assert ToolReward(schedule="constant")(texts, ground_truth=[truth] * 5) == pytest.approx(
        [4.0, 4.0, 2.0, 2.0, 3.0]
    )


def test_the_same_reply_to_another_prompt_is_scored_anew():
    truths = [RLLA.render(thought="", calls=[call(n)], response=None) for n in ("a", "b")]
    text = RLLA.render(thought="t", calls=[call("a")], response=None)
    assert ToolReward(schedule="constant")([text] * 2, ground_truth=truths) == [4.0, -2.0]


def test_a_data_set_without_ground_truth_is_named():
    with pytest.raises(InputError, match="ground_truth"):
        ToolReward()(completions=["x"], answers=["y"])


def test_an_unknown_schedule_is_named():
    with pytest.raises(InputError, match="did you mean 'constant'"):
        ToolReward(schedule="const")


_small_calls = st.builds(
    ToolCall,
    st.sampled_from("fg"),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, True, "1"]), max_size=3),
)


@given(_small_calls, _small_calls)
def test_one_call_scores_as_the_formula_says(found, due):
    """The way for one call is the general formula; a call of another tool beside both adds 1 to
    the names' intersection and union, 1 to the keys, and its share to the denominators.
    """
    other = ToolCall("other", {})
    one, two = call_score([found], [due]), call_score([found, other], [due, other])
    same_name = found.name == due.name
    assert one.names == float(same_name)
    assert two.names == pytest.approx(1.0 if same_name else 1 / 3)
    count = len(due.parameters)
    keys = one.parameters
    values = one.values * count
    assert two.parameters == pytest.approx((keys + 1) / 2)
    assert two.total == pytest.approx((two.names + keys + 1 + values) / (3 + count))
    assert one.total == pytest.approx((one.names + keys + values) / (2 + count))


def test_a_truth_owes_a_thought_only_where_the_prompt_begins_one():
    reward = ToolReward("hermes")
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert [str(block) for block in reward.truth(call).blocks] == ["calls"]
    assert [str(b) for b in reward.truth(call, "<think>\n").blocks] == ["thought", "calls"]


def names_alone(calls, truth):
    """A reward as a user writes it: the share of the names that are due, in their order."""
    return sum(a.name == b.name for a, b in zip(calls, truth, strict=False)) / max(1, len(truth))


def test_a_reward_of_your_own_by_hand(monkeypatch):
    """One name of two is right: 0.5 of [-3, 3] is 0; with half of `exact`, which is 0, 0.25."""
    monkeypatch.setattr(correctness_module, "_KINDS", dict(correctness_module._KINDS))
    register_reward("names_alone", names_alone)
    truth = (
        "<tool_call>\n"
        + "\n".join(f'{{"name": "{name}", "parameters": {{}}}}' for name in ("a", "b"))
        + "\n</tool_call>"
    )
    said = truth.replace('"b"', '"c"')
    for kinds, expected in (("names_alone", 0.5), ({"names_alone": 1, "exact": 1}, 0.25)):
        found = ToolReward(schedule="constant", correctness=kinds).score(said, truth)
        assert found.correctness == expected
        assert found.correctness_reward == pytest.approx(6 * expected - 3)
    assert "names_alone" in correctness_kinds()
    recipe = load_recipe(None, ["reward.correctness={names_alone: 1}"])
    assert recipe.reward.correctness == {"names_alone": 1.0}
    with pytest.raises(InputError, match="there is a reward exact already"):
        register_reward("exact", names_alone)
    with pytest.raises(InputError, match="a name has letters"):
        register_reward("a=b", names_alone)
    with pytest.raises(InputError, match="did you mean 'names_alone'"):
        ToolReward(correctness="name_alone")

"""When parts of the reward are decided, by hand; later tokens change no decision."""

import pytest
from cells import share
from hypothesis import assume, given
from hypothesis import strategies as st
from replies import calls, prose, spoiled

from toolrest.core.dialects import Block, ToolCall, dialect_names, get_dialect
from toolrest.core.rewards.decisions import Potentials, decision_values, find_decisions
from toolrest.engines.common.reward import Asked, ToolReward
from toolrest.errors import InputError

RLLA = get_dialect("rlla")
TEXT = (
    "<think> t </think>\n<tool_call>\n"
    '{"name": "f", "parameters": {"a": 12, "b": "x"}}\n</tool_call>'
)


def decided(text: str, dialect: str = "rlla"):
    """(the byte that decided, name, parameters so far) of each decision."""
    found = find_decisions(text.encode(), get_dialect(dialect))
    return [(d.position, d.calls[-1].name, d.calls[-1].parameters) for d in found]


def test_a_name_is_decided_by_its_quote_a_number_by_what_follows_a_string_by_its_quote():
    assert decided(TEXT) == [
        (TEXT.index('f"') + 1, "f", {}),
        (TEXT.index("12,") + 2, "f", {"a": 12}),
        (TEXT.index('"x"') + 2, "f", {"a": 12, "b": "x"}),
    ]


@pytest.mark.parametrize(
    ("cut", "count"),
    [("f", 0), ('f"', 1), ("12", 1), ("12,", 2), ('"x', 2), ('"x"', 3)],
)
def test_a_truncated_response_has_decided_what_can_be_known(cut, count):
    assert len(decided(TEXT[: TEXT.index(cut) + len(cut)])) == count


@pytest.mark.parametrize("number", ["1.", "1e", "1e+", "1.5E", "1x", "-1."])
def test_a_number_that_may_go_on_is_not_decided(number):
    text = TEXT[: TEXT.index("12")] + number
    assert decided(text) == decided(TEXT)[:1]
    assert decided(text + "0") == decided(TEXT)[:1]


def test_values_are_read_as_the_text_that_the_bytes_are():
    text = TEXT.replace('"x"', '"Zürich 東京 🙂"')
    assert decided(text)[-1][2] == {"a": 12, "b": "Zürich 東京 🙂"}


def test_two_calls_and_a_nested_value():
    text = (
        "<think> t </think>\n<tool_call>\n"
        '{"name": "f", "parameters": {}}\n'
        '{"name": "g", "parameters": {"a": [1, {"b": 2}]}}\n</tool_call>'
    )
    assert [d.calls for d in find_decisions(text.encode(), RLLA)] == [
        (ToolCall("f", {}),),
        (ToolCall("f", {}), ToolCall("g", {})),
        (ToolCall("f", {}), ToolCall("g", {"a": [1, {"b": 2}]})),
    ]


@pytest.mark.parametrize("name", ["deepseek_v3", "deepseek_v3_1"])
def test_what_follows_a_name_takes_no_decision_back(name):
    """DeepSeek V3 has a type before its separator and V3.1 a name; they are told by the word."""
    section = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
    for rest in ("<think>{}", "{}", "1", '```json\n{"a": 1}\n```', ""):
        written = f"{section}pay<｜tool▁sep｜>{rest}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        assert decided(written, name)[0][1:] == ("pay", {})
    of_type = f'{section}function<｜tool▁sep｜>pay\n```json\n{{"a": 1}}\n```'
    assert decided(of_type + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>", name)[0][1] == "pay"


def test_calls_after_a_thought_without_end_decide_nothing():
    """`</think>` may still come, and then they were part of the thought."""
    assert decided(TEXT.replace(" </think>", "")) == []
    assert decided(TEXT.replace(" </think>", "") + "</think>") == []
    assert decided(TEXT.replace(" t </think>\n", "")) == []


@pytest.mark.parametrize(
    ("name", "thought"),
    [
        ("gemma4", "<|channel>thought\nDone?"),
        ("gpt_oss", "<|start|>assistant<|channel|>analysis<|message|>Done?"),
    ],
)
def test_a_thought_after_a_call_takes_no_decision_back(name, thought):
    call = get_dialect(name).render(thought="t", calls=[ToolCall("f", {})], response=None)
    assert decided(call, name) == decided(call + thought, name) != []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("hermes", 3), ("llama3", 3), ("pythonic", 1), ("lfm2", 1)),
        *(("gemma4", 1), ("functiongemma", 1)),
    ],
)
def test_other_dialects(name, count):
    call = ToolCall("f", {"a": 12, "b": "x"})
    text = get_dialect(name).render(thought="t", calls=[call], response=None)
    assert len(decided(text, name)) == count


@pytest.mark.parametrize("name", dialect_names())
@share(2)
@given(thought=prose, calls=calls, response=prose, data=st.data())
def test_later_tokens_change_no_decision(name, thought, calls, response, data):
    """What a prefix has decided is what the whole response has decided by then."""
    dialect = get_dialect(name)
    try:
        text = dialect.render(thought=thought, calls=calls, response=response)
    except InputError:
        assume(False)
        raise
    whole = text.encode("utf-8", "replace")
    if data.draw(st.booleans()):
        whole = data.draw(spoiled(whole))
    opens, closes = (mark.encode() for mark in dialect.thought_marks)
    assume(opens in whole or closes not in whole)  # see find_decisions
    if name == "llama3":  # an object with a name that is data by its end; see find_decisions
        assume(Block.CALLS in dialect.scan(whole.decode("latin-1")).blocks)
    cut = data.draw(st.integers(0, len(whole)))
    by_then = [d for d in find_decisions(whole, dialect) if d.position < cut]
    found = find_decisions(whole[:cut], dialect)
    assert repr(found) == repr(by_then)


def test_worth_by_hand():
    """Truth f(a=12, b="y"): S_acc over 1 + 1 + 2; the name 1, key a 1/2, value a 1, key b 1/2."""
    found = find_decisions(TEXT.encode(), RLLA)
    truth = [ToolCall("f", {"a": 12, "b": "y"})]
    assert decision_values(found, truth, 6.0) == pytest.approx([1.5, 3.75, 4.5])


def test_a_call_where_none_is_due_loses_all_at_its_name():
    assert decision_values(find_decisions(TEXT.encode(), RLLA), [], 6.0) == [-6.0, -6.0, -6.0]


def test_what_is_locked_in_adds_up_to_the_reward():
    """Of a well-formed reply only the format is left at the end; 1 - 3 are there at the start."""
    truth = RLLA.render(thought="", calls=[ToolCall("f", {"a": 12, "b": "y"})], response=None)
    reward = ToolReward(schedule="constant")
    found = reward.potentials(TEXT.encode(), Asked(truth), 0.0)
    assert found.positions == sorted(found.positions)
    assert found.no_call == 1 - 3
    assert reward.score(TEXT, truth).total == pytest.approx(found.no_call + found.values[-1])


def test_rewards_that_are_not_partial_lock_nothing_in():
    truth = RLLA.render(thought="", calls=[ToolCall("f", {})], response=None)
    reward = ToolReward(correctness="exact")
    assert set(reward.potentials(TEXT.encode(), Asked(truth), 0.0).values) == {0.0}
    unpunished = ToolReward(punish_over_calls=False)
    no_call = RLLA.render(thought="", calls=[], response="r")
    assert unpunished.potentials(TEXT.encode(), Asked(no_call), 0.0) == Potentials([], [], 2.0)


def test_no_call_where_none_is_due_earns_the_most():
    no_call = RLLA.render(thought="", calls=[], response="r")
    assert ToolReward(schedule="constant").potentials(b"x", Asked(no_call), 0.0).no_call == 4.0

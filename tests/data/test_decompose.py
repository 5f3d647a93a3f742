"""Decomposition and masking, on random dialogues."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.decompose import Rendering, first_sentences, steps, to_samples
from toolrest.data.dialogue import Action, Dialogue, Observation, SystemTurn, Tool, UserTurn
from toolrest.data.masking import make_mask, masked, unmasked
from toolrest.data.prompts import hold_out
from toolrest.data.record import Record
from toolrest.data.rows import BadRow
from toolrest.engines.common.reward import ToolReward

NAMES = st.sampled_from(["Look up", "book", "a.b", "Ärger"])
KEYS = st.sampled_from(["to", "from", "n"])
VALUES = st.one_of(st.integers(0, 9), st.text(max_size=5), st.booleans())
CALLS = st.builds(ToolCall, NAMES, st.dictionaries(KEYS, VALUES, max_size=2))
WORDS = st.text(st.characters(codec="ascii", exclude_characters="<>[]{}"), min_size=1).filter(
    str.strip
)


@st.composite
def dialogues(draw):
    tools = tuple(
        Tool(name, "d", {"type": "object", "properties": {k: {"type": "string"} for k in keys}})
        for name, keys in draw(
            st.dictionaries(NAMES, st.sets(KEYS), min_size=1, max_size=3)
        ).items()
    )
    turns = [UserTurn(draw(WORDS))]
    for _ in range(draw(st.integers(1, 4))):
        calls = tuple(draw(st.lists(CALLS, max_size=2)))
        turns.append(Action(calls, None if calls else draw(WORDS), draw(st.none() | WORDS)))
        if calls:
            turns.append(Observation(tuple((c.name, "ok") for c in calls)))
        elif draw(st.booleans()):
            turns.append(UserTurn(draw(WORDS)))
    return Dialogue(tools, tuple(turns))


@given(dialogue=dialogues())
def test_every_action_is_learnt_once_and_its_history_is_the_exact_prefix(dialogue):
    found = list(steps(dialogue))
    actions = [turn for turn in dialogue.turns if isinstance(turn, Action)]
    assert [action for _, action in found] == actions
    for known, action in found:
        at = len(known.turns)
        assert dialogue.turns[:at] == known.turns
        assert dialogue.turns[at] is action
        assert known.tools == dialogue.tools


@pytest.mark.parametrize(
    ("text", "count", "kept"),
    [
        ("One. Two? Three!", 1, "One."),
        ("One. Two? Three!", 2, "One. Two?"),
        ("One. Two? Three!", 3, "One. Two? Three!"),
        ("One. Two? Three!", 9, "One. Two? Three!"),
        ("One. Two", None, "One. Two"),
        ("Take 3.5 of it. Then go", 1, "Take 3.5 of it."),
        ("no end", 1, "no end"),
        ("a list\n- b\n- c", 2, "a list\n- b"),
        ("今天。明天。", 1, "今天。"),
        ("", 1, ""),
        ("\n\n One. Two.", 1, "One."),
    ],
)
def test_the_first_sentences(text, count, kept):
    assert first_sentences(text, count) == kept


@given(dialogue=dialogues())
def test_samples_say_the_action_alone_and_one_group(dialogue):
    for dialect, style in (("rlla", "rlla"), ("hermes", "template"), ("hermes", "plain")):
        rendering = Rendering(dialect, style, "all", think=dialect == "rlla")
        try:
            samples = to_samples(Record(dialogue), rendering, "s", "7")
        except BadRow as bad:
            assert "cannot express" in str(bad)
            continue
        actions = [action for _, action in steps(dialogue)]
        assert len(samples) == len(actions)
        assert {sample.group for sample in samples} == {"s:7"}
        for sample, action in zip(samples, actions, strict=True):
            reply = get_dialect(dialect).parse(sample.ground_truth)
            assert reply.calls == action.calls
            assert ToolReward(dialect).score(sample.ground_truth, sample.ground_truth).exact


def test_thoughts_of_earlier_actions_are_kept_as_asked():
    dialogue = Dialogue(
        (),
        (UserTurn("a"), Action(response="b", thought="deep"), UserTurn("c"), Action(response="d")),
    )
    for thoughts, kept in (("none", None), ("placeholder", "I should directly"), ("all", "deep")):
        rendering = Rendering(thoughts=thoughts)
        text = to_samples(Record(dialogue), rendering, "s", "0")[-1].prompt[-1]["content"]
        assert ("<think>" in text) == (kept is not None)
        assert kept is None or kept in text


def test_a_dialogue_without_an_action_that_answers_the_user_is_a_bad_row():
    greeting, asked = Action(response="Hello, how can I help?"), UserTurn("a")
    for turns in ((asked,), (greeting,), (SystemTurn("s"), greeting), (greeting, asked), ()):
        with pytest.raises(BadRow, match="no action to learn from"):
            to_samples(Record(Dialogue((), turns)), Rendering(), "s", "0")


@pytest.mark.parametrize(("dialect", "style"), [("rlla", "rlla"), ("hermes", "template")])
def test_a_greeting_is_history_and_not_learnt(dialect, style):
    turns = (Action(response="Hello!"), UserTurn("Sum?"), Action(response="Three."))
    rendering = Rendering(dialect, style, think=False)
    (sample,) = to_samples(Record(Dialogue((), turns)), rendering, "s", "0")
    assert "Hello!" in json.dumps(sample.prompt)
    assert "Three." in sample.ground_truth and "Hello!" not in sample.ground_truth


@given(dialogue=dialogues(), seed=st.text(max_size=3))
def test_a_mask_is_a_bijection_that_its_inverse_undoes(dialogue, seed):
    hidden, mask = masked(dialogue, seed)
    assert mask == make_mask(dialogue, seed)
    assert mask.inverse().dialogue(hidden) == dialogue
    names = [*mask.tools.values(), *(n for each in mask.parameters.values() for n in each.values())]
    assert len(set(names)) == len(names)
    true = {tool.name for tool in dialogue.tools}
    assert not true & set(names)
    assert [tool.name for tool in hidden.tools] == [mask.tools[t.name] for t in dialogue.tools]


def test_a_mask_renames_what_a_schemas_options_require():
    schema = {
        "properties": {"a": {"type": "string"}, "b": {}},
        "anyOf": [{"required": ["a"]}, {"properties": {"b": {"const": 1}}, "required": ["b"]}],
        "allOf": [True],
    }
    hidden, mask = masked(Dialogue((Tool("f", "d", schema),), (UserTurn("q"),)), "seed")
    a, b = (mask.parameters["f"][name] for name in "ab")
    (tool,) = hidden.tools
    assert tool.parameters == {
        "properties": {a: {"type": "string"}, b: {}},
        "anyOf": [{"required": [a]}, {"properties": {b: {"const": 1}}, "required": [b]}],
        "allOf": [True],
    }
    assert schema["anyOf"][0] == {"required": ["a"]}


def test_a_mask_keeps_which_call_a_result_answers():
    calls = (ToolCall("f", {}), ToolCall("f", {}))
    turns = (UserTurn("q"), Action(calls), Observation((("f", "r"),), calls=(1,)))
    hidden, mask = masked(Dialogue((Tool("f", "d", {}),), turns), "seed")
    assert hidden.turns[2] == Observation(((mask.tools["f"], "r"),), calls=(1,))


@given(dialogue=dialogues(), seed=st.text(max_size=3))
def test_the_masked_gold_earns_the_most_and_reads_true_when_unmasked(dialogue, seed):
    hidden, mask = masked(dialogue, seed)
    for plain, secret in zip(
        to_samples(Record(dialogue), Rendering(), "s", "0"),
        to_samples(Record(hidden), Rendering(), "s", "0"),
        strict=True,
    ):
        assert ToolReward().score(secret.ground_truth, secret.ground_truth).exact
        assert unmasked(secret.ground_truth, mask.true_names()) == plain.ground_truth


def test_steps_of_a_dialogue_stay_on_one_side_of_a_split():
    dialogue = Dialogue(
        (), (UserTurn("a"), Action(response="b"), UserTurn("c"), Action(response="d"))
    )
    samples = [
        sample
        for number in range(10)
        for sample in to_samples(Record(dialogue), Rendering(), "s", str(number))
    ]
    train, heldout = hold_out(samples, 0.3, seed=0)
    assert (len(train), len(heldout)) == (14, 6)
    assert not {s.group for s in train} & {s.group for s in heldout}

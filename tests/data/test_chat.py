"""Chat messages as people have them: roles, results, thoughts, calls inside texts."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import ToolCall, dialect_names, get_dialect
from toolrest.data.decompose import Rendering, to_samples
from toolrest.data.dialogue import Action, Observation, SystemTurn, UserTurn
from toolrest.data.formats import get_format
from toolrest.data.rows import BadRow

TOOLS = [
    {"name": name, "parameters": {"type": "object", "properties": {"x": {}}}}
    for name in ("f", "g", "h")
]
ASKED = {"role": "user", "content": "q"}
DONE = {"role": "assistant", "content": "done"}


def read(*messages, tools=TOOLS, **more):
    row = {"messages": [*messages], "tools": tools, **more}
    return get_format("messages").read(row).dialogue


def calling(*calls, **more):
    """An assistant's message with calls (name, id)."""
    listed = [{"id": i, "function": {"name": name, "arguments": {}}} for name, i in calls]
    return {"role": "assistant", "content": None, "tool_calls": listed, **more}


def result(text, identity=None, name=None, role="tool"):
    said = {"role": role, "content": text, "tool_call_id": identity, "name": name}
    return {key: value for key, value in said.items() if value is not None}


def seen(*messages):
    (observation,) = (
        turn for turn in read(ASKED, *messages).turns if isinstance(turn, Observation)
    )
    return observation


# Results and their calls


@given(count=st.integers(1, 6), seed=st.randoms())
def test_results_are_in_the_order_of_their_calls(count, seed):
    calls = [("f", f"id{n}") for n in range(count)]
    results = [result(f"r{n}", f"id{n}") for n in range(count)]
    seed.shuffle(results)
    found = seen(calling(*calls), *results)
    assert found == Observation(tuple(("f", f"r{n}") for n in range(count)))


def test_results_without_ids_are_taken_by_name_or_one_by_one():
    calls = calling(("f", None), ("g", None))
    by_name = (result("of g", name="g"), result("of f", name="f"))
    assert seen(calls, *by_name).results == (("f", "of f"), ("g", "of g"))
    assert seen(calls, result("a"), result("b")).results == (("f", "a"), ("g", "b"))
    other_names = (result("a", name="x"), result("b", name="y"))
    assert seen(calls, *other_names).results == (("x", "a"), ("y", "b"))
    twice = calling(("f", None), ("f", None))
    assert seen(twice, result("a", name="f"), result("b", name="f")).results == (
        ("f", "a"),
        ("f", "b"),
    )


def test_ids_of_results_alone_say_nothing_of_calls_without_ids():
    calls = calling(("f", None), ("g", ""))
    assert seen(calls, result("a", "1"), result("b", "2")).results == (("f", "a"), ("g", "b"))


def test_calls_of_one_id_are_answered_one_after_the_other():
    calls = calling(("f", "x"), ("g", "x"), ("h", "y"))
    found = seen(calls, result("c", "y"), result("a", "x"), result("b", "x"))
    assert found == Observation((("f", "a"), ("g", "b"), ("h", "c")))


def test_a_call_may_stay_without_a_result_and_the_others_keep_theirs():
    calls = calling(("f", "1"), ("g", "2"), ("h", "3"))
    found = seen(calls, result("c", "3"), result("b", "2"))
    assert found == Observation((("g", "b"), ("h", "c")), calls=(1, 2))
    some_ids = seen(calling(("f", "1"), ("g", "2")), result("b", "2"), result("rest"))
    assert some_ids == Observation((("f", "rest"), ("g", "b")))
    together = seen(calling(("f", None), ("g", None)), result("[1, 2]"))
    assert together.results == (("", "[1, 2]"),)
    alike = seen(calling(("f", None), ("f", None)), result("[1, 2]"))
    assert alike.results == (("f", "[1, 2]"),)


def test_results_may_come_in_two_parts():
    turns = read(ASKED, calling(("f", "1"), ("g", "2")), result("b", "2"), ASKED, result("a", "1"))
    assert [turn for turn in turns.turns if isinstance(turn, Observation)] == [
        Observation((("g", "b"),), calls=(1,)),
        Observation((("f", "a"),)),
    ]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ((calling(("f", "1")), result("a", "2")), "the call '2', which the action before has not"),
        ((calling(("f", "1")), result("a", "1"), result("b", "1")), "two results of the call '1'"),
        ((calling(("f", None)), result("a"), result("b")), "2 results of 1 calls"),
        ((calling(("f", "1")), result("a", "1"), ASKED, result("b", "1")), "two results"),
        ((calling(("f", "1")), DONE, ASKED, result("a", "1")), "the call '1', which"),
        ((result("a", "1"),), "the call '1', which"),
    ],
)
def test_a_result_of_no_call_is_a_bad_row(messages, words):
    with pytest.raises(BadRow, match=words):
        read(ASKED, *messages)


def test_a_result_after_no_call_is_kept_as_it_is():
    assert seen(result("found", name="search")).results == (("search", "found"),)


def test_the_template_gets_each_result_with_its_calls_id():
    calls = calling(("f", "a"), ("g", "b"))
    made = read(ASKED, calls, result("of g", "b"), ASKED, DONE)
    (sample, *_) = to_samples(
        get_format("messages").read(
            {"messages": [ASKED, calls, result("of g", "b"), DONE], "tools": TOOLS}
        ),
        Rendering("hermes", "template", think=False),
        "s",
        "0",
    )[1:]
    called, answered = sample.prompt[1:3]
    assert answered["tool_call_id"] == called["tool_calls"][1]["id"]
    assert made.turns[2] == Observation((("g", "of g"),), calls=(1,))


# Roles and contents


@pytest.mark.parametrize(
    "role", ["tool", "ipython", "observation", "tool_response", "function_response", "function"]
)
def test_every_role_of_a_result(role):
    assert seen(calling(("f", None)), result("5C", role=role)).results == (("f", "5C"),)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("5C", "5C"),
        (None, ""),
        ({"temp": 5, "ä": None}, '{"temp": 5, "ä": null}'),
        ([{"temp": 5}], '[{"temp": 5}]'),
        ([1, "a"], '[1, "a"]'),
        ([], "[]"),
        ({}, "{}"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        ([{"type": "text", "text": "5"}, {"type": "text", "text": "C"}], "5C"),
        ([{"text": "5C"}], '[{"text": "5C"}]'),
    ],
)
def test_what_a_tool_answers_is_its_text_or_its_json_text(content, text):
    answer = {"role": "tool", "content": content}
    assert seen(calling(("f", None)), answer).results == (("f", text),)


def test_messages_of_calls_alone_are_one_action():
    """As ms-swift has them, and LLaMA-Factory: with what the assistant says before them."""
    turns = read(
        ASKED,
        {"role": "assistant", "content": "<think>\nBoth.\n</think>\n"},
        {"role": "tool_call", "content": '{"name": "f", "arguments": {"x": 1}}'},
        {"role": "tool_call", "content": '[{"name": "g", "arguments": "{}"}]'},
        {"role": "tool_response", "content": "a"},
        {"role": "tool_response", "content": "b"},
        {"role": "function_call", "content": '<think>t</think>{"name": "h", "parameters": {}}'},
        {"role": "observation", "content": "c"},
        DONE,
    ).turns
    assert turns == (
        UserTurn("q"),
        Action((ToolCall("f", {"x": 1}), ToolCall("g", {})), None, "Both."),
        Observation((("f", "a"), ("g", "b"))),
        Action((ToolCall("h", {}),), None, "t"),
        Observation((("h", "c"),)),
        Action(response="done"),
    )


def test_function_is_a_result_after_a_call_and_else_a_call():
    """OpenAI's old role, and the name that LLaMA-Factory's other tags give to calls."""
    call = {"role": "function", "content": '{"name": "f", "arguments": {"x": 1}}'}
    seen_as_call = read(ASKED, call, {"role": "observation", "content": "r"}, call, call | {}).turns
    assert seen_as_call[1:3] == (Action((ToolCall("f", {"x": 1}),)), Observation((("f", "r"),)))
    assert seen_as_call[3:] == (
        Action((ToolCall("f", {"x": 1}),)),
        Observation((("f", call["content"]),)),
    )
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    assert seen(legacy, {"role": "function", "name": "f", "content": "r"}).results == (("f", "r"),)
    assert seen({"role": "function", "name": "f", "content": "r"}).results == (("f", "r"),)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "tool_call", "content": "no JSON"}, "a message of calls is not JSON"),
        ({"role": "tool_call", "content": "[]"}, "holds none"),
        ({"role": "tool_call", "content": "[5]"}, "not a list of objects"),
        ({"role": "tool_call", "content": '{"arguments": {}}'}, "no a call's name"),
        ({"role": "assistant", "content": "<think>t</think>"}, "neither calls nor content"),
        ({"role": "assistant", "content": ["a"]}, "a part that is no text"),
        (
            {"role": "assistant", "content": "a", "reasoning_content": {}},
            "is an object, not a text",
        ),
        ({"content": "a"}, "no a message's role"),
        (
            {"role": "assistant", "tool_calls": [{"name": "f"}], "function_call": {"name": "f"}},
            "both tool_calls and function_call",
        ),
    ],
)
def test_what_is_wrong_with_a_message_is_said(message, words):
    with pytest.raises(BadRow, match=words):
        read(ASKED, message)


# The places of system messages


def test_system_messages_stay_where_they_are():
    system = [{"role": role, "content": role} for role in ("system", "developer")]
    found = read(*system, ASKED, DONE, system[1], ASKED, DONE)
    assert found.system == "system\n\ndeveloper"
    assert found.turns[2] == SystemTurn("developer")
    late = read(DONE, system[0], ASKED, DONE)
    assert late.system is None
    assert late.turns[1] == SystemTurn("system")


@pytest.mark.parametrize("style", ["template", "plain", "rlla"])
def test_a_system_message_in_the_middle_is_worded_there(style):
    row = {"messages": [ASKED, DONE, {"role": "system", "content": "BRIEF"}, ASKED, DONE]}
    rendering = Rendering("hermes" if style != "rlla" else "rlla", style, think=False)
    first, second = to_samples(get_format("messages").read(row), rendering, "s", "0")
    assert "BRIEF" not in json.dumps(first.prompt)
    if style == "rlla":
        assert "<system> BRIEF </system>" in second.prompt[1]["content"].split("<response>")[1]
    else:
        roles = [message["role"] for message in second.prompt if message["role"] != "tool"]
        assert roles[-4:] == ["user", "assistant", "system", "user"]


def test_a_system_text_beside_the_messages_is_kept():
    assert read(ASKED, DONE, system="Be brief.").system == "Be brief."
    said = {"role": "system", "content": "Be brief."}
    assert read(said, ASKED, DONE, system="Be brief.").system == "Be brief."
    with pytest.raises(BadRow, match="begin with another"):
        read(said, ASKED, DONE, system="Be long.")


# Thoughts


@pytest.mark.parametrize(
    ("content", "thought", "response"),
    [
        ("<think>\nTell.\n</think>\n\nIt is.", "Tell.", "It is."),
        ("  <think>Tell.</think>It is.", "Tell.", "It is."),
        ("<think>\n\n</think>\n\nIt is.", None, "It is."),
        ("Tell.\n</think>\n\nIt is.", "Tell.", "It is."),
        ("It is <think>odd</think>.", None, "It is <think>odd</think>."),
        ("It is.", None, "It is."),
    ],
)
def test_a_thought_that_leads_the_content_is_the_thought(content, thought, response):
    (_, action) = read(ASKED, {"role": "assistant", "content": content}).turns
    assert action == Action((), response, thought)
    (_, action) = read(ASKED, calling(("f", "1"), content=content)).turns
    assert (action.calls, action.thought) == ((ToolCall("f", {}),), thought)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_beside_the_content(key):
    (_, action) = read(ASKED, DONE | {key: "Tell."}).turns
    assert action.thought == "Tell."
    same = {"role": "assistant", "content": "<think>\nTell.\n</think>\n\ndone", key: "Tell."}
    assert read(ASKED, same).turns[1] == action
    with pytest.raises(BadRow, match="two thoughts"):
        read(ASKED, same | {key: "Hide."})
    empty = same | {"content": "<think>\n\n</think>\n\ndone"}
    assert read(ASKED, empty).turns[1] == action


def test_a_thought_that_does_not_end_is_a_bad_row():
    with pytest.raises(BadRow, match="does not end"):
        read(ASKED, {"role": "assistant", "content": "<think>\nTell. It is."})


# Calls inside a content

CALLS = (ToolCall("f", {"x": "a b"}), ToolCall("g", {"x": [1, {"y": "z"}]}))


@pytest.mark.parametrize("name", dialect_names())
@pytest.mark.parametrize("count", [1, 2])
def test_calls_inside_a_content_are_calls_in_every_dialect(name, count):
    text = get_dialect(name).write(thought=None, calls=CALLS[:count], response=None)
    (_, action) = read(ASKED, {"role": "assistant", "content": text}).turns
    assert action == Action(CALLS[:count])


@pytest.mark.parametrize("name", dialect_names())
def test_what_every_dialect_writes_of_a_response_is_one(name):
    for text in ("Done.", "[1] says {x}: `f(a=1)` [2]", '{"a": [1, 2]}', "[1, 2, 3]", "- a\n- b"):
        (_, action) = read(ASKED, {"role": "assistant", "content": text}).turns
        assert action == Action(response=text)


def test_a_marked_call_of_a_tool_that_is_not_listed_is_a_call():
    """`check` names it, as it does one in tool_calls."""
    text = '<tool_call>\n{"name": "k", "arguments": {}}\n</tool_call>'
    for tools in (TOOLS, []):
        (_, action) = read(ASKED, {"role": "assistant", "content": text}, tools=tools).turns
        assert action == Action((ToolCall("k", {}),))


def test_a_dialogue_that_a_chat_template_has_written():
    """Qwen's way: results come back as a user's text."""
    turns = read(
        ASKED,
        {
            "role": "assistant",
            "content": "<think>\nt\n</think>\n\nI look.\n<tool_call>\n"
            '{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n<tool_call>\n'
            '{"name": "g", "arguments": {}}\n</tool_call>',
        },
        {
            "role": "user",
            "content": "<tool_response>\na\n</tool_response>\n<tool_response>\nb\n</tool_response>",
        },
        DONE,
        {"role": "user", "content": "<tool_response>\nno result\n</tool_response>"},
        DONE,
    ).turns
    assert turns[1:3] == (
        Action((ToolCall("f", {"x": 1}), ToolCall("g", {})), "I look.", "t"),
        Observation((("f", "a"), ("g", "b"))),
    )
    assert turns[4] == UserTurn("<tool_response>\nno result\n</tool_response>")


def test_results_of_calls_inside_a_content_lose_their_marks():
    call = {"role": "assistant", "content": '<tool_call>{"name": "f", "arguments": {}}</tool_call>'}
    marked = result("<tool_response>\n{}\n</tool_response>")
    assert seen(call, marked).results == (("f", "{}"),)
    assert seen(calling(("f", None)), marked).results == (("f", marked["content"]),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('<tool_call>{"name": "f", "arg', "a call that cannot be read"),
        ("Sure. <tool_call>f(x=1)</tool_call>", "a call that cannot be read"),
        ('<tool_call>{"name": "f", "arguments": {x}}</tool_call>', "a call that cannot be read"),
        ('<functioncall> {"name": "f", "arguments": {}}', "a call that cannot be read"),
        ("<some:function_calls></some:function_calls>", "a call that cannot be read"),
        ("[TOOL_CALLS]", "a call that cannot be read"),
        ('{"name": "k", "parameters": {"x": 1}}', "'k', a tool that the row does not list"),
        ("[k(x=1)]", "'k', a tool that the row does not list"),
    ],
)
def test_a_call_inside_a_content_is_never_a_response(content, words):
    with pytest.raises(BadRow, match=words):
        read(ASKED, {"role": "assistant", "content": content})


def test_calls_said_twice_are_a_bad_row():
    text = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    with pytest.raises(BadRow, match="in tool_calls and in its content"):
        read(ASKED, calling(("f", "1"), content=text))


def test_texts_that_look_like_marks_take_no_time():
    rng = random.Random(0)
    for text in ("<tool_response>" * 30_000, "<" * 100_000, "<a:" * 50_000, "<think>" * 20_000):
        for content in (text, "".join(rng.sample(text, len(text)))):
            try:
                read(ASKED, {"role": "assistant", "content": content}, ASKED | {"content": content})
            except BadRow as bad:
                assert str(bad)


# What is not learned, and what must not be left out


def learned(*messages):
    record = get_format("messages").read({"messages": [*messages], "tools": TOOLS})
    made = to_samples(record, Rendering("hermes", "template", think=False), "s", "0")
    return [sample.ground_truth for sample in made]


@pytest.mark.parametrize("key", ["weight", "loss", "loss_scale", "train", "training"])
def test_a_message_that_does_not_count_is_history_alone(key):
    wrong = {"role": "assistant", "content": "wrong"}
    for off, on in ((0, 1), (0.0, 1.0), (False, True), (0, None)):
        messages = [ASKED, wrong | {key: off}, ASKED, DONE | {key: on}]
        assert learned(*messages) == ["done"]
        dialogue = read(*messages)
        assert [t.response for t in dialogue.turns if isinstance(t, Action)] == ["wrong", "done"]
        call = {"role": "function_call", "content": '{"name": "f", "arguments": {}}', key: off}
        assert learned(ASKED, call, result("r"), DONE) == ["done"]
        inline = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
        assert learned(ASKED, wrong | {key: off, "content": inline}, result("r"), DONE) == ["done"]
    with pytest.raises(BadRow, match="no action to learn from"):
        learned(ASKED, DONE | {key: 0})


@pytest.mark.parametrize("value", [0.5, 2, -1, "0", [0], float("nan")])
def test_a_message_that_counts_in_part_is_refused(value):
    with pytest.raises(BadRow, match=r"weight is .*counts \(1\) or not \(0\)"):
        read(ASKED, DONE | {"weight": value})


@pytest.mark.parametrize(
    "key", ["function_calls", "calls", "tools", "functions", "tool_use", "toolUses", "tool_call"]
)
def test_calls_and_tools_under_other_names_are_refused(key):
    for message in (DONE, ASKED, {"role": "system", "content": "s"}):
        with pytest.raises(BadRow, match=f"'{key}' would be ignored"):
            read(ASKED, message | {key: [{"name": "f", "arguments": {}}]}, DONE)
    assert read(ASKED, DONE | {key: None}) == read(ASKED, DONE | {key: []}) == read(ASKED, DONE)


@pytest.mark.parametrize("key", ["input", "args", "kwargs", "parameters"])
@pytest.mark.parametrize("as_text", [False, True])
def test_arguments_under_another_key_are_read_or_refused(key, as_text):
    given = {"x": 1}
    for beside in ({}, {"arguments": {}}, {"arguments": ""}, {"arguments": None}):
        call = {"name": "f", key: json.dumps(given) if as_text else given, **beside}
        message = {"role": "assistant", "tool_calls": [{"function": call}]}
        if key == "parameters" and beside.get("arguments") is None:
            (action,) = [t for t in read(ASKED, message).turns if isinstance(t, Action)]
            assert action.calls == (ToolCall("f", given),)
        else:
            with pytest.raises(BadRow, match=f"the call of f has no arguments but '{key}'"):
                read(ASKED, message)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "f", "arguments": {"x": 1}}', 1),
        ('[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 1}}]', 2),
        ('{"id": "7", "name": "f", "arguments": "{\\"x\\": 1}"}', 1),
    ],
)
def test_json_of_calls_alone_is_calls(text, calls):
    _, action = read(ASKED, {"role": "assistant", "content": text}).turns
    assert action == Action((ToolCall("f", {"x": 1}),) * calls)
    with pytest.raises(BadRow, match="'f', a tool that the row does not list"):
        read(ASKED, {"role": "assistant", "content": text}, tools=[])


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "f", "arguments": {"x": 1}}\n```',
        '{"tool": "f", "args": {"x": 1}}',
        '{"tool_calls": [{"function": {"name": "f"}}]}',
        'f(x="a")',
        "```\nf(x=1)\n```",
        'Thought: so\nAction: f\nAction Input: {"x": 1}',
        "<seed:tool_call>\n<function=f>\n<parameter=x>1</parameter>\n</function>\n</seed:tool_call>",
        '<invoke name="f"><parameter name="x">1</parameter></invoke>',
        '<|action_start|><|plugin|>{"name": "f", "parameters": {"x": 1}}<|action_end|>',
        '<|tools_prefix|>[{"f": {"x": 1}}]<|tools_suffix|>',
        "<longcat_tool_call>f\n</longcat_tool_call>",
        '>>>f\n{"x": 1}',
    ],
)
def test_calls_that_no_dialect_reads_are_no_response(text):
    with pytest.raises(BadRow, match="holds a call that cannot be read"):
        read(ASKED, {"role": "assistant", "content": text})


@pytest.mark.parametrize(
    "text", ['{"name": "Bob", "age": 3}', "f is a function", "```json\n[1]\n```", "f(x) = y", "[1]"]
)
def test_texts_that_are_no_calls_stay_responses(text):
    assert learned(ASKED, {"role": "assistant", "content": text}) == [text]

"""Gemma 4's calls: what its chat templates write is read, and what they cannot say is refused."""

import pytest
from chat_turns import USUAL, assistant, shipped, turn
from hypothesis import given
from hypothesis import strategies as st
from replies import json_values

from toolrest.core.dialects import Block, ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.core.regions import Region
from toolrest.errors import InputError

GEMMA4 = get_dialect("gemma4")
TEMPLATES = ("gemma4", *(f"gemma4_v{n}" for n in range(2, 6)), "diffusion_gemma")
ENDS = ("<turn|>", "<|tool_response>")
every_template = pytest.mark.parametrize("template", TEMPLATES)


def written(template, calls, **more):
    return turn(shipped(template), assistant(calls, **more), *ENDS)


def read(text):
    reply = GEMMA4.parse(text)
    assert reply.status is ParseStatus.OK, text
    assert reply.well_formed and reply.calls_intact
    return reply


PARAMETERS = {
    "usual": USUAL,
    "none": {},
    "numbers": {"a": -3, "b": 2.5, "c": 1e-07, "d": 1e16, "e": -0.0, "f": 10**30, "g": 0},
    "characters": {"東京": "Zürich 🙂", "a": "\ttab\r\nline\n"},
    "brackets": {"a": "}{][,:", "b": "call:f{x:1}", "c": "'\"\\"},
    "marks": {"a": "<tool_call|>", "b": "<|tool_call>call:f{}<tool_call|>", "c": "<channel|>"},
    "nested": {"z": {"b": [1, {"c": None, "a": "x,y"}], "a": {}}, "y": [[], [True, None]]},
    "keys": {
        "a b": 1,
        "Basic LLM Chain": {"x-y": 2, "3": 3},
        "B": 1,
        "a": 2,
        "<": 4,
        "'": 5,
        'x"': 6,
    },
    "text that is a word": {"a": "null", "b": "true", "c": "1", "d": "", "e": " "},
}


@every_template
@pytest.mark.parametrize("case", PARAMETERS)
def test_a_template_s_call_is_read_back(template, case):
    call = ToolCall("plan_trip", PARAMETERS[case])
    reply = read(written(template, (call,)))
    assert reply.calls == (call,)
    assert repr(sorted(reply.calls[0].parameters)) == repr(sorted(call.parameters))
    assert [s.region for s in reply.spans if s.region is Region.NAME] == [Region.NAME]


@every_template
def test_the_types_are_those_of_the_call(template):
    """True is not 1."""
    (call,) = read(written(template, (ToolCall("plan_trip", USUAL),))).calls
    assert {key: type(value) for key, value in call.parameters.items()} == {
        key: type(value) for key, value in USUAL.items()
    }


@every_template
def test_several_calls_and_text_beside_them(template):
    calls = (ToolCall("plan_trip", USUAL), ToolCall("f.g-h", {}), ToolCall("plan_trip", {"a": []}))
    reply = read(written(template, calls, content="I plan it."))
    assert (reply.calls, reply.response) == (calls, "I plan it.")
    assert reply.blocks == (Block.CALLS, Block.RESPONSE)


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "gemma4_v2"])
def test_a_thought(template):
    text = written(template, (ToolCall("plan_trip", USUAL),), reasoning="First\nthe city.")
    reply = read(text)
    assert reply.thought == "First\nthe city."
    assert reply.blocks == (Block.THOUGHT, Block.CALLS)


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_written_is_what_the_newest_template_writes(template):
    """But for None, which the older ones write for null."""
    calls = tuple(ToolCall("plan_trip", PARAMETERS[case]) for case in PARAMETERS if case != "keys")
    ours = GEMMA4.render(thought=None, calls=calls, response=None)
    theirs = written(template, calls)
    assert ours == theirs.replace("note:None", "note:null").replace("c:None", "c:null").replace(
        "true,None", "true,null"
    )


@every_template
@pytest.mark.parametrize(
    ("lost", "other"),
    [
        ({"a": 'x<|"|>,b:<|"|>y'}, {"a": "x", "b": "y"}),  # a string that holds the mark of strings
        ({"a:1,b": 2}, {"a": 1, "b": 2}),  # a key with a colon and a comma
    ],
)
def test_what_the_templates_lose_is_refused(template, lost, other):
    assert written(template, (ToolCall("f", lost),)) == written(template, (ToolCall("f", other),))
    if any('<|"|>' in value for value in lost.values() if isinstance(value, str)):
        with pytest.raises(InputError, match="gemma4 cannot express this calls"):
            GEMMA4.render(thought=None, calls=(ToolCall("f", lost),), response=None)
    else:  # such a key can be written between the marks of a string
        text = GEMMA4.render(thought=None, calls=(ToolCall("f", lost),), response=None)
        assert text == '<|tool_call>call:f{<|"|>a:1,b<|"|>:2}<tool_call|>'


def call_of(text):
    return GEMMA4.parse(f"<|tool_call>call:f{text}<tool_call|>")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a:True,b:False,c:None}", {"a": True, "b": False, "c": None}),
        ('{<|"|>3<|"|>:<|"|>x<|"|>}', {"3": "x"}),
        ("{ a : 1 ,\n b : [ 1 , 2 ] }", {"a": 1, "b": [1, 2]}),
        ("{a:1,a:2}", {"a": 2}),
        ("{:1}", {"": 1}),
        ("{a:1E+2,b:-0}", {"a": 100.0, "b": 0}),
    ],
)
def test_other_ways_to_write_a_value(text, value):
    reply = call_of(text)
    assert (reply.status, reply.calls) == (ParseStatus.OK, (ToolCall("f", value),))


@pytest.mark.parametrize(
    "text",
    [
        *(
            '{"a":1}',
            "{a:Oslo}",
            '{a:"x"}',
            "{a:'x'}",
            "{a:1 2}",
            "{a:}",
            "{a}",
            "{,}",
            "{a:1,}",
            "{a:[1,]}",
        ),
        *("{a:[1}", "{a:(1)}", "{a:01}", "{a:+1}", "{a:1.}", "{a:.5}", "{a:0x1}", "{a:1_0}"),
        *("{a:NaN}", "{a:inf}", "{a:1e999}", "{a:nul}", "{a:TRUE}", '{a:<|"|>x<|"|>y}', "(a:1)"),
        *('{a:<|"|>x<|"|> <|"|>y<|"|>}', "{a:__import__}", "{a:1+1}", "{a:" + "1" * 5000 + "}"),
        "{a:" + "[" * 300 + "]" * 300 + "}",
    ],
)
def test_what_is_no_value_makes_a_bad_call(text):
    reply = call_of(text)
    assert (reply.status, reply.calls, reply.calls_intact) == (ParseStatus.BAD_CALL, (), False)
    after = GEMMA4.parse(f"<|tool_call>call:f{text}<tool_call|>{SOUND}")
    assert after.calls == (ToolCall("g", {}),)


SOUND = "<|tool_call>call:g{}<tool_call|>"


@pytest.mark.parametrize(
    ("text", "status", "names"),
    [
        (f"<|tool_call>f{{}}<tool_call|>{SOUND}", ParseStatus.BAD_CALL, ["g"]),
        (f"<|tool_call>call:f<tool_call|>{SOUND}", ParseStatus.BAD_CALL, ["g"]),
        (f"<|tool_call>call:{{}}<tool_call|>{SOUND}", ParseStatus.BAD_CALL, ["g"]),
        (f"<|tool_call><tool_call|>{SOUND}", ParseStatus.BAD_CALL, ["g"]),
        (f"<|tool_call>call:f{{}}{SOUND}", ParseStatus.UNCLOSED, ["f", "g"]),
        ("<|tool_call>call:f{}", ParseStatus.UNCLOSED, ["f"]),
        ("<|tool_call>call:f{}}<tool_call|>", ParseStatus.BAD_CALL, ["f"]),
        ("<|tool_call>call:f{a:1", ParseStatus.UNCLOSED, []),
        ('<|tool_call>call:f{a:<|"|>x', ParseStatus.UNCLOSED, []),
        ("<|tool_call>call:f", ParseStatus.UNCLOSED, []),
        ("<|tool_call>", ParseStatus.UNCLOSED, []),
        (f"<|channel>thought\nI call.{SOUND}", ParseStatus.UNCLOSED, ["g"]),
    ],
)
def test_a_broken_block_does_not_hide_the_next(text, status, names):
    reply = GEMMA4.parse(text)
    assert (reply.status, [call.name for call in reply.calls]) == (status, names)


@pytest.mark.parametrize(
    "text",
    [
        '<|tool_call>call:f{a:<|"|>x}<tool_call|><|tool_call>call:g{b:<|"|>}<tool_call|>',
        '<|tool_call>call:f{a:<|"|>x}<tool_call|>\n<|tool_call>call:g{b:<|"|>y<|"|>}<tool_call|>',
        '<|tool_call>call:f{a:<|"|>x,b:<|"|>y<|"|>}<tool_call|>',
    ],
)
def test_a_string_without_its_end_swallows_nothing(text):
    reply = GEMMA4.parse(text)
    assert reply.status is not ParseStatus.OK
    assert not reply.calls_intact
    assert all("<|tool_call>" not in str(call.parameters) for call in reply.calls)
    assert len([s for s in reply.spans if s.region is Region.NAME]) == text.count("call:")


@pytest.mark.parametrize(
    ("opening", "rest", "thought"),
    [
        ("<|channel>thought\n", "Hm.\n<channel|>Yes.", "Hm."),
        ("<|channel>thought\n<channel|>", "Yes.", ""),
        ("<|channel>thought\n\n<channel|>", "Yes.", ""),
        ("", "Yes.", None),
    ],
)
def test_what_the_prompt_has_written_of_the_reply(opening, rest, thought):
    prompt = f"<|turn>user\nHello.<turn|>\n<|turn>model\n{opening}"
    assert GEMMA4.opening(prompt) == opening
    reply = GEMMA4.parse(rest, opening=opening)
    assert (reply.thought, reply.response, reply.status) == (thought, "Yes.", ParseStatus.OK)
    turned = GEMMA4.render(thought=thought, calls=(), response="Yes.")
    left = GEMMA4.continued(turned, opening)
    again = GEMMA4.parse(left, opening=opening)
    assert (again.thought, again.response) == (thought, "Yes.")


def test_the_template_opens_the_thought_after_a_tool_s_result():
    """The fifth version does so where it is told to think."""
    assert GEMMA4.opening("<tool_response|><|channel>thought\n") == "<|channel>thought\n"
    assert GEMMA4.opening("<tool_response|>") == ""


def test_a_second_thought_is_no_text_to_the_user():
    reply = GEMMA4.parse("<|channel>thought\n<channel|><|channel>thought\nHm.<channel|>Yes.")
    assert reply.blocks == (Block.THOUGHT, Block.THOUGHT, Block.RESPONSE)
    assert (reply.response, reply.status) == ("Yes.", ParseStatus.OK)


@given(parameters=st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_any_json_is_written_and_read_unless_it_holds_the_mark_of_strings(parameters):
    call = ToolCall("f", parameters)
    text = GEMMA4.write(thought=None, calls=(call,), response=None)
    reply = GEMMA4.parse(text)
    if '<|"|>' not in repr(parameters):
        assert (reply.calls, reply.status) == ((call,), ParseStatus.OK)
    GEMMA4.parse(text[: len(text) // 2])


@every_template
def test_it_is_seen_from_the_template(template):
    assert detect_dialect(shipped(template)) == "gemma4"


def test_the_tokens_that_end_a_turn():
    assert GEMMA4.stop_tokens == ("<turn|>", "<|tool_response>")

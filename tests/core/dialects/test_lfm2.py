"""LFM2's calls: what its chat templates write is read, and what they cannot say is shown."""

import pytest
from chat_turns import USUAL, assistant, shipped, turn
from hypothesis import given
from hypothesis import strategies as st
from replies import json_values

from toolrest.core.dialects import Block, ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.core.regions import Region
from toolrest.errors import InputError

LFM2 = get_dialect("lfm2")
ESCAPED, AS_IT_IS = ("lfm2_v2", "lfm2_2_5_vl"), ("lfm2_2_5", "lfm2_2_5_v2")
"""Templates that escape what a string cannot hold, and templates that write it as it is."""
every_template = pytest.mark.parametrize("template", ESCAPED + AS_IT_IS)
START, END = "<|tool_call_start|>", "<|tool_call_end|>"
SOUND = f"{START}[g()]{END}"


def written(template, calls, **more):
    return turn(shipped(template), assistant(calls, **more), "<|im_end|>")


def read(text):
    reply = LFM2.parse(text)
    assert reply.status is ParseStatus.OK, text
    assert reply.well_formed and reply.calls_intact
    return reply


PARAMETERS = {
    "usual": USUAL,
    "none": {},
    "numbers": {"a": -3, "b": 2.5, "c": 1e-07, "d": 1e16, "e": -0.0, "f": 10**30},
    "characters": {"城市": "東京 🙂 Zürich", "a": "\ttab"},
    "brackets": {"a": "}{][)(,:#=", "b": "f(x=1), g()", "c": '"'},
    "marks": {"a": END, "b": f"{START}[f()]{END}", "c": "</think>", "d": START},
    "nested": {"z": {"b": [1, {"c": None, "a": "x,y"}], "a": {}}, "y": [[], [True, None, "it's"]]},
    "text that is a word": {"a": "None", "b": "true", "c": "1", "d": "", "e": " "},
    "a quote": {"a": "It's fine", "b": "the 'big' one", "c": 1, "d": "'"},
    "lines": {"a": "one\ntwo\r\nthree\n", "b": 1},
}


@every_template
@pytest.mark.parametrize("case", PARAMETERS)
def test_a_template_s_call_is_read_back(template, case):
    call = ToolCall("plan_trip", PARAMETERS[case])
    reply = read(written(template, (call,)))
    assert repr(reply.calls) == repr((call,))
    assert [s.region for s in reply.spans if s.region is Region.NAME] == [Region.NAME]


@pytest.mark.parametrize("template", ESCAPED)
@pytest.mark.parametrize("text", ["C:\\new\\", "\\'", "x', b='y", "a\\\nb", "'''", "\\\\n"])
def test_an_escaped_string_is_read_back(template, text):
    call = ToolCall("f", {"a": text, "b": [text, {"c": text}]})
    assert read(written(template, (call,))).calls == (call,)
    assert LFM2.render(thought=None, calls=(call,), response=None) == written(template, (call,))


@every_template
def test_several_calls_and_text_beside_them(template):
    calls = (ToolCall("plan_trip", USUAL), ToolCall("f.g", {}), ToolCall("plan_trip", {"a": []}))
    reply = read(written(template, calls, content="I plan it."))
    assert (reply.calls, reply.response) == (calls, "I plan it.")
    assert reply.blocks == (Block.RESPONSE, Block.CALLS)


@pytest.mark.parametrize("template", ["lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl"])
def test_a_thought(template):
    calls = (ToolCall("plan_trip", USUAL),)
    text = written(template, calls, thinking="First\nthe city.", content="I plan it.")
    reply = read(text)
    assert (reply.thought, reply.response) == ("First\nthe city.", "I plan it.")
    if template in ESCAPED:
        ours = LFM2.render(thought=reply.thought, calls=calls, response=reply.response)
        assert ours == text


def test_what_the_templates_lose():
    """A quote before a comma, in those that write strings as they are; and a backslash, which is
    one of the string in those and an escape in the others.
    """
    lost, other = {"a": "x', b='y"}, {"a": "x", "b": "y"}
    for template in AS_IT_IS:
        calls = [(ToolCall("f", parameters),) for parameters in (lost, other)]
        assert written(template, calls[0]) == written(template, calls[1])
        assert read(written(template, calls[0])).calls == calls[1]
        backslash = written(template, (ToolCall("f", {"a": "C:\\new"}),))
        assert backslash == written("lfm2_v2", (ToolCall("f", {"a": "C:\new"}),))
        assert read(backslash).calls == (ToolCall("f", {"a": "C:\new"}),)
    assert LFM2.parse(LFM2.render(thought=None, calls=(ToolCall("f", lost),), response=None)).calls


def list_of(text):
    return LFM2.parse(f"{START}[{text}]{END}{SOUND}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('f(a="x", b=[true, false, null])', {"a": "x", "b": [True, False, None]}),
        ("f(a = 1 ,\n b = { 'c' : None } , )", {"a": 1, "b": {"c": None}}),
        ('{"name": "f", "arguments": {"a": null}}', {"a": None}),
        ('{"arguments": {"a": "[it\'s]"}, "id": 1, "name": "f"}', {"a": "[it's]"}),
        ("f(a='It's', b='rock 'n' roll')", {"a": "It's", "b": "rock 'n' roll"}),
        ("f(a='C:\\', b=1)", {"a": "C:\\", "b": 1}),
        ('f(a="""two\nlines""")', {"a": "two\nlines"}),
    ],
)
def test_other_ways_to_write_a_call(text, value):
    reply = list_of(text)
    assert (reply.status, reply.calls) == (
        ParseStatus.OK,
        (ToolCall("f", value), ToolCall("g", {})),
    )


def test_json_and_python_in_one_list():
    reply = list_of('{"name": "f", "arguments": {}}, h(a=1)')
    assert [call.name for call in reply.calls] == ["f", "h", "g"]
    assert reply.status is ParseStatus.OK


@pytest.mark.parametrize(
    "text",
    [
        *("f(1)", "f(a=b)", "f(a=g(b=1))", "f(a=f'x')", "f(a=b'x')", "f(a={1})", "f", "", "f()()"),
        *("f(a=1 # one\n)", "f(a=1 b=2)", "f(a='x' b='y')", "f(**{'a': 1})", "f(a=[it's, b])"),
        *(
            "f(a='He said 'hi') now')",
            "f(a='x, b='y', c='z')",
            "f(a='x', \"b\"=2, c='y')",
            "f(a='x)",
        ),
        *('{"name": "f"}', '{"arguments": {}}', '{"name": "f", "arguments": {"a": }}', "[f()]"),
        *("f(a=1e999)", "f(a=0x" + "f" * 4000 + ")", "f(a=" + "[" * 300 + "]" * 300 + ")"),
    ],
)
def test_what_is_no_call_makes_a_bad_one(text):
    reply = list_of(text)
    assert reply.status is ParseStatus.BAD_CALL
    assert not reply.calls_intact
    assert reply.calls[-1:] == (ToolCall("g", {}),)
    assert not [call for call in reply.calls if call.parameters]


@pytest.mark.parametrize(
    ("text", "status", "names"),
    [
        (f"{START}[f(a='x)]{END}It's done.{SOUND}", ParseStatus.BAD_CALL, ["g"]),
        (f"{START}[f(a='x)]{END}{START}[h(b='y')]{END}", ParseStatus.BAD_CALL, ["h"]),
        (f"{START}[f(a='x)]{END}{START}[h(b=')]{END}", ParseStatus.BAD_CALL, []),
        (f"{START}[f()]{SOUND}", ParseStatus.UNCLOSED, ["f", "g"]),
        (f"{START}[f(){END}{SOUND}", ParseStatus.BAD_CALL, ["f", "g"]),
        (f"{START}f(){END}{SOUND}", ParseStatus.BAD_CALL, ["g"]),
        (f"{START}[f(), h(a=]{END}{SOUND}", ParseStatus.BAD_CALL, ["f", "g"]),
        (f"{START}[f()]", ParseStatus.UNCLOSED, ["f"]),
        (f"{START}[f(a='x", ParseStatus.UNCLOSED, []),
        (START, ParseStatus.UNCLOSED, []),
        (f"<think>I call.{SOUND}", ParseStatus.UNCLOSED, ["g"]),
    ],
)
def test_a_broken_block_does_not_hide_the_next(text, status, names):
    reply = LFM2.parse(text)
    assert (reply.status, [call.name for call in reply.calls]) == (status, names)


def test_text_may_follow_the_calls():
    reply = LFM2.parse(f"{SOUND}Checking it.")
    assert (reply.blocks, reply.response) == ((Block.CALLS, Block.RESPONSE), "Checking it.")
    assert reply.status is ParseStatus.OK


@given(
    parameters=st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True), json_values, max_size=4
    )
)
def test_any_json_is_written_and_read(parameters):
    call = ToolCall("f", parameters)
    text = LFM2.render(thought=None, calls=(call,), response=None)
    assert repr(LFM2.parse(text).calls) == repr((call,))
    LFM2.parse(text[: len(text) // 2])


def test_a_name_that_python_could_not_write_is_refused():
    with pytest.raises(InputError, match="lfm2 cannot express this calls"):
        LFM2.render(thought=None, calls=(ToolCall("f", {"a=b": 1}),), response=None)


@every_template
def test_it_is_seen_from_the_template(template):
    assert detect_dialect(shipped(template)) == "lfm2"


def test_a_template_that_writes_no_calls_is_not_guessed():
    """The first one drops them."""
    with pytest.raises(InputError, match="writes no tool calls"):
        detect_dialect(shipped("lfm2"))

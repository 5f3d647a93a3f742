import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import Block, ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region
from toolrest.errors import InputError

RLLA = get_dialect("rlla")
BLANK = " \t\r\n"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
calls = st.lists(
    st.builds(ToolCall, st.text(), st.dictionaries(st.text(), json_values, max_size=3)), max_size=4
)
prose = st.text().map(lambda text: text.strip(BLANK)).filter(lambda text: "</" not in text)


@given(thought=st.none() | prose, calls=calls, response=st.none() | prose)
def test_parse_reverses_render(thought, calls, response):
    reply = RLLA.parse(RLLA.render(thought=thought, calls=calls, response=response))
    assert reply.thought == thought
    assert list(reply.calls) == calls
    assert reply.response == response
    empty = thought is None and not calls and response is None
    assert reply.status is (ParseStatus.EMPTY if empty else ParseStatus.OK)


@given(st.text() | st.text(alphabet='<>/{}"\\:, \ntoolcalthinkresp_'))
def test_any_text_has_a_reply_whose_spans_cover_it(text):
    reply = RLLA.parse(text)
    assert "".join(text[span.start : span.end] for span in reply.spans) == text
    assert all(a.end == b.start for a, b in zip(reply.spans, reply.spans[1:], strict=False))


def regions_of(text):
    reply = RLLA.parse(text)
    return reply, [(span.region, text[span.start : span.end]) for span in reply.spans]


def part(text, region):
    return [piece for found, piece in regions_of(text)[1] if found is region]


@pytest.mark.parametrize(
    ("text", "status", "position"),
    [
        ("", ParseStatus.EMPTY, 0),
        (" \n", ParseStatus.EMPTY, 0),
        ("hello", ParseStatus.STRAY_TEXT, 0),
        ("<think> a", ParseStatus.UNCLOSED, 7),
        ("<think> a </think> b <response> c </response>", ParseStatus.STRAY_TEXT, 19),
        ("<tool_call>\nnot json\n</tool_call>", ParseStatus.BAD_CALL, 12),
        ('<tool_call>\n{"name": 1, "parameters": {}}\n</tool_call>', ParseStatus.BAD_CALL, 12),
        ('<tool_call>\n{"name": "a"}\n</tool_call>', ParseStatus.BAD_CALL, 12),
        ('<tool_call>\n{"name": "a", "par', ParseStatus.UNCLOSED, 11),
        ('<tool_call>\n{"name": "a", "parameters": {}}', ParseStatus.UNCLOSED, 11),
    ],
)
def test_status_and_position_of_the_first_defect(text, status, position):
    reply = RLLA.parse(text)
    assert (reply.status, reply.position) == (status, position)


def test_a_tag_in_a_string_does_not_end_the_block():
    text = '<tool_call>\n{"name": "a", "parameters": {"x": "</tool_call> <think>"}}\n</tool_call>'
    reply = RLLA.parse(text)
    assert reply.status is ParseStatus.OK
    assert reply.calls == (ToolCall("a", {"x": "</tool_call> <think>"}),)


def test_a_tag_in_the_thought_opens_no_block():
    text = '<think> I use <tool_call> {"name": "z"} now </think>\n<response> x </response>'
    reply = RLLA.parse(text)
    assert reply.blocks == (Block.THOUGHT, Block.RESPONSE)
    assert reply.calls == ()


def test_a_name_among_the_parameters_is_not_the_tools_name():
    text = '<tool_call>\n{"parameters": {"name": "inner"}, "name": "outer"}\n</tool_call>'
    assert RLLA.parse(text).calls == (ToolCall("outer", {"name": "inner"}),)
    assert part(text, Region.NAME) == ["outer"]
    assert part(text, Region.PARAMETERS) == ['{"name": "inner"}']


def test_a_thought_without_its_end_stops_at_the_calls():
    text = '<think> so\n<tool_call>\n{"name": "a", "parameters": {}}\n</tool_call>'
    reply = RLLA.parse(text)
    assert not reply.well_formed
    assert reply.calls_intact
    assert reply.calls == (ToolCall("a", {}),)
    assert part(text, Region.REASONING) == [" so\n"]


@pytest.mark.parametrize("cut", range(10, 64))
def test_a_truncated_call_keeps_what_was_recognised(cut):
    text = '<tool_call>\n{"name": "abc", "parameters": {"x": {"y": "z}"}}}\n</tool_call>'
    name, parameters = text.index("abc"), text.index('{"x"')
    end = text.index("}}}") + 2
    reply = RLLA.parse(text[:cut])
    assert "".join(part(text[:cut], Region.NAME)) == text[name : min(cut, name + 3)]
    assert "".join(part(text[:cut], Region.PARAMETERS)) == text[parameters : min(cut, end)]
    assert reply.calls == ((ToolCall("abc", {"x": {"y": "z}"}}),) if cut > end else ())


def test_a_broken_call_does_not_hide_the_next_one():
    text = (
        '<tool_call>\n{"name": "a", "parameters": {"x": nope"}}\n'
        '{"name": "b", "parameters": {}}\n</tool_call>'
    )
    reply = RLLA.parse(text)
    assert [call.name for call in reply.calls] == ["b"]
    assert reply.status is ParseStatus.BAD_CALL
    assert part(text, Region.NAME) == ["a", "b"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000])
def test_numbers_that_are_not_json_make_a_bad_call(value):
    text = f'<tool_call>\n{{"name": "a", "parameters": {{"x": {value}}}}}\n</tool_call>'
    reply = RLLA.parse(text)
    assert reply.calls == ()
    assert reply.status is ParseStatus.BAD_CALL
    assert part(text, Region.NAME) == ["a"]


def test_deep_nesting_is_a_value():
    for text in ("[" * 10_000, "[" * 10_000 + "]" * 10_000):
        call = f'<tool_call>\n{{"name": "a", "parameters": {{"x": {text}}}}}\n</tool_call>'
        assert RLLA.parse(call).calls == ()


@pytest.mark.parametrize(
    "unit",
    ['{"', '{"name": "a", "parameters": {\n', "<tool_call>{", "<think>", '"', "{", "\\", "<"],
)
def test_much_of_anything_is_read_to_its_end(unit):
    """Reading that goes back for every unit would not come to an end here."""
    text = "<tool_call>\n" + unit * (300_000 // len(unit))
    reply = RLLA.parse(text)
    assert not reply.calls_intact
    assert reply.spans[-1].end == len(text)


def test_duplicate_keys_take_the_last_as_json_does():
    text = '<tool_call>\n{"name": "a", "name": "b", "parameters": {}}\n</tool_call>'
    assert RLLA.parse(text).calls == (ToolCall("b", {}),)


def test_calls_are_written_in_the_published_form():
    text = RLLA.render(
        thought="Your thoughts",
        calls=[ToolCall("A b", {"k": "v"}), ToolCall("c", {})],
        response="Final",
    )
    assert text == (
        "<think> Your thoughts </think>\n<tool_call>\n"
        '{"name": "A b", "parameters": {"k": "v"}}\n{"name": "c", "parameters": {}}\n'
        "</tool_call>\n<response> Final </response>"
    )
    assert json.loads(text.split("\n")[2]) == {"name": "A b", "parameters": {"k": "v"}}


def test_an_unknown_dialect_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'rlla'"):
        get_dialect("rla")

"""Calls as tags with values as plain text: what holds in each dialect that writes them so."""

import re

import pytest
from chat_templates import GLM_4_7, MINIMAX_M2, QWEN3_CODER, called, shipped, turn
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from labelling import label_pieces
from replies import calls, json_values

from toolrest.core.dialects import ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region
from toolrest.errors import InputError

MARKS = {
    "qwen_xml": (
        *("<tool_call>", "</tool_call>", "<function=", "</function>"),
        *("<parameter=", "</parameter>"),
    ),
    "glm": (
        *("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>"),
        *("<arg_value>", "</arg_value>"),
    ),
    "minimax": (
        *("<minimax:tool_call>", "</minimax:tool_call>", '<invoke name="', "</invoke>"),
        *('<parameter name="', "</parameter>"),
    ),
    "muse": (
        *("<atem:function_calls>", "</atem:function_calls>", '<atem:invoke name="'),
        *("</atem:invoke>", '<atem:parameter name="', "</atem:parameter>"),
        *("<|start|>", "<|message|>", "<|eom|>", "<|eot|>"),
    ),
}
TEMPLATES = {
    **{
        name: shipped(name)
        for name in (
            *("qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8"),
            *("nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "nemotron_3_5_lightning"),
            *("glm4moe", "glm4moe_training", "muse_glimmer", "muse_glimmer_training"),
            *("qwen3_5_think_training", "qwen3_6_training", "nemotron_3_nano_training"),
        )
    },
    "Qwen3-Coder": QWEN3_CODER,
    "GLM-4.7": GLM_4_7,
    "MiniMax M2": MINIMAX_M2,
}
every_tagged = pytest.mark.parametrize("name", MARKS)
every_template = pytest.mark.parametrize("template", TEMPLATES)
TYPES = {
    **{type(None): "null", bool: "boolean", int: "integer", float: "number"},
    **{str: "string", list: "array", dict: "object"},
}


def tools_for(*called_ones):
    """Tools that declare of every value the type that it has."""
    found = {}
    for call in called_ones:
        properties = found.setdefault(call.name, {})
        for key, value in call.parameters.items():
            kinds = properties.setdefault(key, {"type": []})["type"]
            if TYPES[type(value)] not in kinds:
                kinds.append(TYPES[type(value)])
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": "A tool.",
                "parameters": {"type": "object", "properties": properties},
            },
        }
        for name, properties in found.items()
    ]


PLAN = {"city": "Oslo", "days": 3, "sure": True, "note": None, "tags": ["a", "b"], "code": "12"}
ODD = {
    "lines": "one\ntwo\n\nthree",
    "around": "\n\n  padded \n\n",
    "break": "\n",
    "windows": "a\r\nb\r\n",
    "empty": "",
    "space": " ",
    "html": '<b class="x">bold</b> & <br/> </b> <parameter> <function> <invoke>',
    "words": "True",
    "nothing": "null",
    "number": "1e5",
    "json": '{"a": [1, "x"]}',
    "quoted": '"12"',
    "quotes": "'single' \"double\" \\ back",
    "unicode": "東京 é 🙂",
    "nested": {"a": {"b": [1, {"c": None}], "d": "12"}, "e": [], "f": {}},
    "listed": ["12", 12, True, None, 1.5, "東京", "a\nb", '"'],
    "marks": ["<tool_call>", "</parameter>", {"x": "</arg_value><|eot|>"}],
    "float": 0.1,
    "large": 10**30,
    "small": -1e-7,
    "whole": 2.0,
    "off": False,
}


@every_template
@pytest.mark.parametrize("arguments", [PLAN, {}, ODD], ids=["plan", "none", "odd"])
def test_what_a_template_writes_is_read_back(template, arguments):
    call = ToolCall("plan_trip", arguments)
    if template == "Qwen3-Coder":  # a list whose string holds a mark has single quotes there
        call = ToolCall("plan_trip", {k: v for k, v in arguments.items() if k != "marks"})
    tools = tools_for(call)
    message = {"content": "", "tool_calls": called((call.name, call.parameters))}
    dialect, _, written = turn(TEMPLATES[template], message, tools)
    reply = dialect.parse(written, tools)
    assert (reply.calls, reply.status, reply.position) == ((call,), ParseStatus.OK, None)
    assert repr(reply.calls) == repr((call,))
    assert reply.well_formed and reply.calls_intact


@every_template
def test_two_calls_with_a_thought_and_text_beside_them(template):
    both = (ToolCall("plan_trip", PLAN), ToolCall("book", {"seat": "7", "rows": [7]}))
    tools = tools_for(*both)
    message = {
        "content": "Let me see.",
        "reasoning_content": "I plan,\n\nthen I book.",
        "tool_calls": called(*((call.name, call.parameters) for call in both)),
    }
    dialect, opening, written = turn(TEMPLATES[template], message, tools)
    reply = dialect.parse(written, tools)
    assert (reply.calls, reply.status) == (both, ParseStatus.OK)
    assert reply.thought == (None if template == "Qwen3-Coder" else "I plan,\n\nthen I book.")
    assert reply.response == (None if dialect.name == "muse" else "Let me see.")
    if opening.strip() in ("<think>", "<think>\n"):
        rest = written[len(opening) :]
        assert dialect.parse(rest, tools, opening=opening).calls == both
        assert dialect.parse(rest, tools, opening=opening).thought == reply.thought


@every_template
@settings(max_examples=15)
@given(calls=calls)
def test_whatever_arguments_a_template_is_given_are_read_back(template, calls):
    assume(calls and len({call.name for call in calls}) == len(calls))
    tools = tools_for(*calls)
    message = {"content": "", "tool_calls": called(*((c.name, c.parameters) for c in calls))}
    dialect, _, written = turn(TEMPLATES[template], message, tools)
    try:
        dialect.render(thought=None, calls=calls, response=None, tools=tools)
    except InputError:
        assume(False)
    reply = dialect.parse(written, tools)
    assert repr(reply.calls) == repr(calls)
    assert reply.status is ParseStatus.OK


@every_template
@pytest.mark.parametrize(
    ("own", "one", "other"),
    [
        ({"type": ["string", "null"]}, None, "None"),
        ({"type": ["string", "null"]}, None, "null"),
        ({"type": ["string", "integer"]}, 12, "12"),
        ({"type": "string"}, {"a": 1}, '{"a": 1}'),
        ({"type": "string"}, True, "True"),
        ({"type": "string"}, True, "true"),
    ],
    ids=repr,
)
def test_two_values_that_a_template_writes_alike_are_read_as_one(template, own, one, other):
    """The template loses the difference; where it writes both alike, both are read alike."""
    tools = tools_for(ToolCall("f", {"a": None}))
    tools[0]["function"]["parameters"]["properties"]["a"] = own
    written = []
    for value in (one, other):
        message = {"content": "", "tool_calls": called(("f", {"a": value}))}
        dialect, _, text = turn(TEMPLATES[template], message, tools)
        written.append((text, dialect.parse(text, tools).calls))
    (text, read), (same_text, same_read) = written
    if text == same_text:
        assert read == same_read
        value = read[0].parameters["a"]
        assert repr(value) in (repr(one), repr(other))


def test_which_values_the_templates_write_alike():
    """Each of them loses two of a nullable string's three values, but never the same two."""
    tools = tools_for(ToolCall("f", {"a": None}))
    alike = {}
    for template, source in TEMPLATES.items():
        texts = {}
        for value in (None, "None", "null"):
            message = {"content": "", "tool_calls": called(("f", {"a": value}))}
            texts.setdefault(turn(source, message, tools)[2], []).append(value)
        alike[template] = next(values for values in texts.values() if len(values) == 2)
    python = [name for name, values in alike.items() if values == [None, "None"]]
    assert sorted(set(TEMPLATES) - set(python)) == [
        *("GLM-4.7", "MiniMax M2", "glm4moe", "glm4moe_training", "muse_glimmer"),
        *("muse_glimmer_training", "qwen3_6", "qwen3_6_training", "qwen3_8"),
    ]


@every_tagged
@given(calls=calls)
def test_every_value_is_written_and_read_by_its_type(name, calls):
    assume(len({call.name for call in calls}) == len(calls))
    for call in calls:
        for key, value in list(call.parameters.items()):
            if isinstance(value, str) and "<" in value:
                call.parameters[key] = value.replace("<", "(")
    dialect, tools = get_dialect(name), tools_for(*calls)
    text = dialect.render(thought=None, calls=calls, response=None, tools=tools)
    assert repr(dialect.parse(text, tools).calls) == repr(calls)


@every_tagged
def test_a_mark_in_a_string_of_json_is_no_mark(name):
    dialect = get_dialect(name)
    for mark in MARKS[name]:
        call = ToolCall("f", {"a": [f"x{mark}y", {mark: mark}], "b": {"c": mark * 2}, "d": 1})
        text = dialect.render(thought=None, calls=(call, call), response=None)
        assert dialect.parse(text).calls == (call, call)


@every_tagged
def test_a_mark_in_plain_text_cannot_be_expressed(name):
    dialect = get_dialect(name)
    for mark in MARKS[name]:
        for value in (
            f"x {mark} y",
            mark,
            f"\n{mark}f>\n",
            f"['{mark}']",
            f'["{mark}"',
            f"[{mark}]",
        ):
            call = ToolCall("f", {"a": value, "b": "z"})
            tools = tools_for(call)
            with pytest.raises(InputError, match=f"{name} cannot express this calls"):
                dialect.render(thought=None, calls=(call,), response=None, tools=tools)
            written = dialect.write(thought=None, calls=(call, call), response=None)
            assert dialect.parse(written, tools).status is not ParseStatus.OK


TWO = (
    ToolCall("f", {"a": "x", "b": [1, "y"], "c": {"k": "v"}}),
    ToolCall("g", {"a": "['z']", "d": 2}),
)


@every_tagged
def test_a_value_never_swallows_anothers_mark(name):
    """Each mark is taken out in turn: what is read then is a call as it was, or a defect."""
    dialect = get_dialect(name)
    text = dialect.render(thought="t", calls=TWO, response=None, tools=tools_for(*TWO))
    places = [m for mark in MARKS[name] for m in re.finditer(re.escape(mark), text)]
    assert len(places) > 15
    for tools in (None, tools_for(*TWO)):
        for place in places:
            broken = text[: place.start()] + text[place.end() :]
            reply = dialect.parse(broken, tools)
            for call in reply.calls:
                assert call in TWO, (place, call)
            if reply.status is ParseStatus.OK:  # a block's start, or the mark that ends the turn
                assert reply.calls != TWO or place[0] == "<|eot|>", place
                assert place[0] in ("<minimax:tool_call>", "<tool_call>", "<|eot|>"), place


@every_tagged
@given(data=st.data())
def test_no_value_that_is_read_holds_a_mark(name, data):
    """Whatever marks stand where."""
    pieces = (*MARKS[name], ">", '">', "f", "a", "\n", "x", '"', "[", "]", "{}", "<think>", " to=f")
    text = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=40)))
    for prefix in ("", " to=f<|message|>" + MARKS["muse"][0] * (name == "muse")):
        reply = get_dialect(name).parse(prefix + text)
        for call in reply.calls:
            for value in call.parameters.values():
                assert not isinstance(value, str) or not any(mark in value for mark in MARKS[name])


@every_tagged
def test_a_value_whose_end_is_missing_stops_at_the_next(name):
    """The next parameter is one too; the call is lost, and the one after it is not."""
    dialect = get_dialect(name)
    text = dialect.render(thought=None, calls=TWO, response=None)
    end = MARKS[name][5]
    broken = text.replace(end, "", 1)
    reply = dialect.parse(broken)
    assert [call.name for call in reply.calls] == ["g"]
    assert reply.status is ParseStatus.BAD_CALL and not reply.calls_intact
    assert broken[reply.position :].startswith(MARKS[name][4 if name != "glm" else 2])
    assert [s.region for s in reply.spans].count(Region.PARAMETERS) == 2
    parameters = "".join(
        broken[span.start : span.end] for span in reply.spans if span.region is Region.PARAMETERS
    )
    assert parameters.count(end) == text.count(end) - 1


@every_tagged
def test_every_cut_of_a_reply_is_a_defect_and_never_another_value(name):
    dialect = get_dialect(name)
    tools = tools_for(*TWO)
    text = dialect.render(thought=None, calls=TWO, response=None, tools=tools)
    start = text.index(MARKS[name][0]) + len(MARKS[name][0])
    whole = dialect.parse(text, tools)
    for cut in range(start, len(text)):
        reply = dialect.parse(text[:cut], tools)
        assert reply.calls == TWO[: len(reply.calls)]
        regions = [span.region for span in reply.spans for _ in range(span.start, span.end)]
        kept = [span.region for span in whole.spans for _ in range(span.start, span.end)]
        for at, region in enumerate(regions):
            if not text[at].isspace() and region not in (kept[at], Region.OTHER):
                begun = text[:cut].rindex("<")  # the mark of a next block, which is no mark yet
                assert region is Region.RESPONSE and begun <= at, (text[:cut], at)
        if (
            reply.status is ParseStatus.OK
        ):  # nothing but a mark, or the mark of a next block, is cut
            assert reply.calls, text[:cut]


@every_tagged
@pytest.mark.parametrize("call", [ToolCall("", {"a": 1}), ToolCall(" ", {})])
def test_a_call_that_names_no_tool_is_none(name, call):
    text = get_dialect(name).write(thought=None, calls=(call,), response=None)
    reply = get_dialect(name).parse(text)
    assert reply.calls == () and not reply.calls_intact


@every_tagged
@given(key=st.text(st.characters(exclude_characters='<>{}[]"\r\n'), min_size=1), value=json_values)
def test_keys_of_any_letters_have_the_same_spans_byte_by_byte(name, key, value):
    """Labelling reads one character a byte, so the names that are looked up differ: no span may."""
    assume(key.isascii() is False)
    dialect = get_dialect(name)
    text = dialect.write(thought=None, calls=(ToolCall("f", {key: value}),), response=None)
    try:
        by_byte = [
            span.region
            for span in dialect.parse(text).spans
            for _ in text[span.start : span.end].encode()
        ]
    except UnicodeEncodeError:
        assume(False)
    spans = dialect.parse(text.encode().decode("latin-1")).spans
    assert [span.region for span in spans for _ in range(span.start, span.end)] == by_byte


@every_tagged
def test_labels_do_not_need_the_tools(name):
    """A label is that of the mark before it, whatever the value is read as."""
    dialect = get_dialect(name)
    spans = {
        dialect.parse(dialect.write(thought="t", calls=TWO, response=None), tools).spans
        for tools in (None, tools_for(*TWO), tools_for(ToolCall("f", {"a": 1, "b": "x", "c": 1})))
    }
    assert len(spans) == 1
    text = dialect.write(thought=None, calls=TWO, response=None)
    assert set(label_pieces(list(text), name)) == set("FNP")

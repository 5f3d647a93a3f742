import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turns import ODD_CALLS, QUESTION, TOOLS, message, render, trl_template, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.core.regions import Region, label_array
from toolrest.core.vocabulary import Vocabulary
from toolrest.errors import InputError

SECTION, END_SECTION = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, END_CALL = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
NEW = f'{CALL}f{SEPARATOR}{{"a": 1}}{END_CALL}'
OLD = f'{CALL}function{SEPARATOR}f\n```json\n{{"a": 1}}\n```{END_CALL}'
READ = (ToolCall("f", {"a": 1}),)
BOTH = pytest.mark.parametrize("dialect", ["deepseek_v3", "deepseek_v3_1"])
DSML = pytest.mark.parametrize("dialect", ["deepseek_v3_2", "deepseek_v4", "deepseek_v4_1"])

V31 = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}<｜User｜>{{ m.content }}"
    "{% elif m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>"
    "{% else %}{% if messages[loop.index0 - 1].role == 'user' %}<｜Assistant｜></think>{% endif %}"
    "{{ m.content or '' }}{% if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}"
    "<｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>{{ c.function.arguments }}"
    "<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}<｜end▁of▁sentence｜>{% endif %}"
    "{% endfor %}{% if add_generation_prompt and messages[-1].role == 'user' %}<｜Assistant｜>"
    "{{ '<think>' if thinking else '</think>' }}{% endif %}"
)
"""A template in the shape of V3.1's."""
V32 = (
    "{% set dsml = '｜DSML｜' %}{% for m in messages %}"
    "{% if m.role == 'user' %}<｜User｜>{{ m.content }}<｜Assistant｜>{% else %}"
    "{{ m.reasoning_content or '' }}</think>{{ m.content or '' }}"
    "{% if m.tool_calls %}{{ '\\n\\n' }}<{{ dsml }}BLOCK>{% for c in m.tool_calls %}"
    "{{ '\\n' }}<{{ dsml }}invoke name=\"{{ c.function.name }}\">{{ '\\n' }}"
    "{% for k, v in c.function.arguments.items() %}{{ '\\n' if not loop.first else '' }}"
    "<{{ dsml }}parameter name=\"{{ k }}\" string=\"{{ 'true' if v is string else 'false' }}\">"
    "{{ v if v is string else v | tojson }}</{{ dsml }}parameter>{% endfor %}"
    "{{ '\\n' }}</{{ dsml }}invoke>{% endfor %}{{ '\\n' }}</{{ dsml }}BLOCK>{% endif %}"
    "<｜end▁of▁sentence｜>{% endif %}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"
)
"""A template in the shape of what V3.2 and V4 write; BLOCK is the name of their block."""
END = ("<｜end▁of▁sentence｜>",)


@BOTH
@pytest.mark.parametrize("between", ["", "\n"])
@pytest.mark.parametrize("calls", [(NEW,), (OLD,), (NEW, NEW), (OLD, OLD), (NEW, OLD)])
def test_both_forms_are_read(dialect, calls, between):
    reply = get_dialect(dialect).parse(f"So.{SECTION}{between.join(calls)}{END_SECTION}")
    assert (reply.status, reply.response) == (ParseStatus.OK, "So.")
    assert reply.calls == READ * len(calls)


@BOTH
@pytest.mark.parametrize(
    ("text", "status", "calls", "names"),
    [
        (SECTION, ParseStatus.UNCLOSED, (), []),
        (SECTION + END_SECTION, ParseStatus.BAD_CALL, (), []),
        (f"{SECTION}{CALL}f{SEPARATOR}" + '{"a": "', ParseStatus.UNCLOSED, (), ["f"]),
        (f"{SECTION}{NEW}", ParseStatus.UNCLOSED, READ, ["f"]),
        (f"{SECTION}{NEW[: -len(END_CALL)]}", ParseStatus.UNCLOSED, READ, ["f"]),
        (f"{SECTION}{OLD[: -len(END_CALL) - 2]}", ParseStatus.UNCLOSED, READ, ["f"]),
        (f"{SECTION}{OLD[: -len(END_CALL) - 4]}{END_CALL}{END_SECTION}", ParseStatus.BAD_CALL, (),
         ["f"]),
        (f"{SECTION}{OLD.replace('```json', '')}{END_SECTION}", ParseStatus.BAD_CALL, (), ["f"]),
        (f"{SECTION}{NEW.replace('1}', '1} x')}{END_SECTION}", ParseStatus.BAD_CALL, (), ["f"]),
        (f"{SECTION}{NEW.replace('1}', 'x}')}{NEW}{END_SECTION}", ParseStatus.BAD_CALL, READ,
         ["f", "f"]),
        (f"{NEW}{END_SECTION}", ParseStatus.BAD_CALL, READ, ["f"]),
        (f"{SECTION}{NEW}{SECTION}{NEW}{END_SECTION}", ParseStatus.UNCLOSED, READ * 2, ["f", "f"]),
        (f"{SECTION} x {NEW}{END_SECTION}", ParseStatus.BAD_CALL, READ, ["f"]),
        (f"{SECTION}{NEW.replace('f', '')}{END_SECTION}", ParseStatus.BAD_CALL, (), []),
        (SECTION + OLD.replace("｜>f\n", "｜>\n") + END_SECTION, ParseStatus.BAD_CALL, (), []),
        (f"{SECTION}{NEW}{END_CALL}{END_SECTION}", ParseStatus.BAD_CALL, READ, ["f"]),
    ],
)  # fmt: skip
def test_broken_calls_keep_what_was_recognised(dialect, text, status, calls, names):
    reply = get_dialect(dialect).parse(text)
    assert (reply.status, reply.calls, reply.response) == (status, calls, None)
    assert not reply.calls_intact
    found = [text[s.start : s.end] for s in reply.spans if s.region is Region.NAME]
    assert found == names


def test_a_cut_call_is_of_the_dialects_own_form():
    """`function` may be the type of a tool, or a tool's name."""
    for dialect, regions in (("deepseek_v3", []), ("deepseek_v3_1", ["function"])):
        text = f"{SECTION}{CALL}function{SEPARATOR}"
        spans = get_dialect(dialect).parse(text).spans
        assert [text[s.start : s.end] for s in spans if s.region is Region.NAME] == regions


@pytest.mark.parametrize("call", ODD_CALLS, ids=range(len(ODD_CALLS)))
@pytest.mark.parametrize(
    ("name", "template", "header"),
    [
        ("deepseek_v3", trl_template("deepseekv3"), "<｜Assistant｜>"),
        ("deepseek_v3_1", V31, "<｜Assistant｜>"),
        ("deepseek_v3_2", V32.replace("BLOCK", "function_calls"), "<｜Assistant｜>"),
        ("deepseek_v4", V32.replace("BLOCK", "tool_calls"), "<｜Assistant｜>"),
    ],
)
def test_what_templates_write_is_detected_and_read_back(name, template, header, call):
    assert detect_dialect(template) == name
    as_text = json.dumps if name in ("deepseek_v3", "deepseek_v3_1") else None
    for calls, content in (((call,), ""), ((call, *ODD_CALLS[:2]), "Well.")):
        text = turn(template, message(calls, as_text, content=content), header, END)
        reply = get_dialect(name).parse(text)
        assert reply.status is ParseStatus.OK, text
        assert repr(reply.calls) == repr(calls)
        assert (reply.thought or None, reply.response) == (None, content or None)


@pytest.mark.parametrize("count", [1, 2])
def test_what_r1_distills_template_writes_is_read(count):
    """It ends a section after the second call only."""
    said = message(ODD_CALLS[:count], json.dumps, content=None)
    text = turn(trl_template("deepseek_r1_distill"), said, "<｜Assistant｜>", END)
    assert text.endswith(END_SECTION) == (count == 2)
    for end in ("", "\n"):
        reply = get_dialect("deepseek_v3").parse(text + end)
        assert (reply.calls, reply.status) == (ODD_CALLS[:count], ParseStatus.OK)
        assert reply.calls_intact


@pytest.mark.parametrize(
    ("dialect", "text", "status"),
    [
        ("deepseek_v3", f"{SECTION}{OLD}", ParseStatus.OK),
        ("deepseek_v3", f"So.{SECTION}\n{OLD}\n", ParseStatus.OK),
        ("deepseek_v3", f"{SECTION}{OLD}{OLD}", ParseStatus.UNCLOSED),
        ("deepseek_v3", f"{SECTION}{OLD}{SECTION}{OLD}", ParseStatus.UNCLOSED),
        ("deepseek_v3", f"{SECTION}{OLD[:-1]}", ParseStatus.BAD_CALL),
        ("deepseek_v3", f"{SECTION}{OLD[: -len(END_CALL)]}", ParseStatus.UNCLOSED),
        ("deepseek_v3", f"{SECTION}{OLD} and", ParseStatus.BAD_CALL),
        ("deepseek_v3", f"{SECTION}{NEW}", ParseStatus.UNCLOSED),
        ("deepseek_v3", OLD, ParseStatus.UNCLOSED),
        ("deepseek_v3_1", f"{SECTION}{OLD}", ParseStatus.UNCLOSED),
    ],
)
def test_only_one_whole_call_of_v3_ends_a_section_alone(dialect, text, status):
    for written in (text, text.encode().decode("latin-1")):  # the second as labelling scans it
        reply = get_dialect(dialect).parse(written)
        assert reply.status is status
        assert (reply.status is ParseStatus.OK) == (reply.well_formed and reply.calls_intact)


def test_a_prompt_opens_or_closes_the_thought_or_writes_nothing_after_a_result():
    dialect = get_dialect("deepseek_v3_1")
    result = [QUESTION, message(ODD_CALLS[:1], json.dumps), {"role": "tool", "content": "</think>"}]
    for messages, options, opening in (
        ([QUESTION], {}, "</think>"),
        ([QUESTION], {"thinking": True}, "<think>"),
        (result, {}, ""),
    ):
        prompt = render(V31, messages, tools=TOOLS, add_generation_prompt=True, **options)
        assert dialect.opening(prompt) == opening
        assert dialect.opening(prompt.encode().decode("latin-1")) == opening
    v3 = get_dialect("deepseek_v3")
    prompt = render(trl_template("deepseekv3"), [QUESTION], add_generation_prompt=True)
    assert v3.opening(prompt) == "<think>\n"
    prompt = render(trl_template("deepseekv3"), result, add_generation_prompt=True)
    assert v3.opening(prompt) == "" and prompt.endswith("<｜tool▁outputs▁end｜>")


@pytest.mark.parametrize("name", ["deepseek_v3", "deepseek_v3_1", "deepseek_v3_2", "deepseek_v4"])
def test_a_closed_thought_is_an_empty_one(name):
    dialect = get_dialect(name)
    reply = dialect.parse("Hello", opening="</think>")
    assert (reply.thought, reply.response, reply.status) == ("", "Hello", ParseStatus.OK)
    assert reply.blocks == (Block.THOUGHT, Block.RESPONSE)
    assert [(s.region, s.start, s.end) for s in reply.spans] == [(Region.RESPONSE, 0, 5)]
    calls = (ToolCall("f", {"a": "</think>"}),)
    whole = dialect.render(thought="t", calls=calls, response=None)
    rest = dialect.continued(whole, "</think>")
    reply = dialect.parse(rest, opening="</think>")
    assert (reply.thought, reply.calls, reply.status) == ("", calls, ParseStatus.OK)
    reply = dialect.parse(dialect.continued(whole, "<think>"), opening="<think>")
    assert (reply.thought, reply.calls, reply.status) == ("t", calls, ParseStatus.OK)


@given(cut=st.integers(1, 5), text=st.sampled_from(["é東🙂", "｜DSML", "▁"]))
@pytest.mark.parametrize("name", ["deepseek_v3", "deepseek_v3_1", "deepseek_v3_2", "deepseek_v4_1"])
def test_marks_above_ascii_are_found_in_bytes_too(name, cut, text):
    """Labelling scans one character a byte; a token may hold a part of a mark."""
    dialect = get_dialect(name)
    calls = (ToolCall("f", {"a": text, "b": [text]}),)
    written = dialect.render(thought=text, calls=calls, response=text)
    body = written.encode()
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    ids = np.arange(len(pieces))[None, :]
    labels = label_array(ids, ids >= 0, Vocabulary.from_table(pieces), dialect)[0]
    by_byte = [
        span.region
        for span in dialect.parse(written).spans
        for _ in written[span.start : span.end].encode()
    ]
    for number, label in enumerate(labels.tolist()):
        own = by_byte[number * cut : (number + 1) * cut]
        assert own.count(Region(label)) == max(own.count(region) for region in own)


TAGS = {
    "deepseek_v3_2": ("function_calls", "invoke", "parameter"),
    "deepseek_v4": ("tool_calls", "invoke", "parameter"),
    "deepseek_v4_1": (" calls", " invoke", " parameter"),
}


@DSML
@pytest.mark.parametrize("tags", TAGS.values())
def test_tags_of_every_version_are_read(dialect, tags):
    block, invoke, parameter = (f"｜DSML｜{tag}" for tag in tags)
    text = (
        f'Well.\n\n<{block}>\n<{invoke} name="f">\n'
        f'<{parameter} name="a" string="true">12\n</{parameter}>\n'
        f'<{parameter} name="b" string="false">{{"c": [null, true]}}</{parameter}>\n</{invoke}>\n'
        f'<{invoke} name="g">\n\n</{invoke}>\n</{block}>'
    )
    reply = get_dialect(dialect).parse(text)
    assert reply.calls == (
        ToolCall("f", {"a": "12\n", "b": {"c": [None, True]}}),
        ToolCall("g", {}),
    )
    assert (reply.status, reply.response) == (ParseStatus.OK, "Well.")
    if tags == TAGS[dialect]:
        written = get_dialect(dialect).render(
            thought=None, calls=reply.calls, response=reply.response
        )
        assert written == text.replace('name="g">\n\n', 'name="g">\n')


HEAD = '<｜DSML｜function_calls>\n<｜DSML｜invoke name="f">\n'
VALUE = '<｜DSML｜parameter name="a" string="true">1</｜DSML｜parameter>\n'
TAIL = "</｜DSML｜invoke>\n</｜DSML｜function_calls>"


@DSML
@pytest.mark.parametrize(
    ("text", "status", "calls"),
    [
        (HEAD, ParseStatus.UNCLOSED, ()),
        (HEAD + VALUE, ParseStatus.UNCLOSED, ()),
        (HEAD + VALUE[:20], ParseStatus.UNCLOSED, ()),
        (HEAD + VALUE.replace("</｜DSML｜parameter>", "") + VALUE + TAIL, ParseStatus.BAD_CALL, ()),
        (HEAD + VALUE.replace("true", "false").replace(">1", ">x") + TAIL, ParseStatus.BAD_CALL,
         ()),
        (HEAD + VALUE.replace(' string="true"', "") + TAIL, ParseStatus.BAD_CALL, ()),
        (HEAD + VALUE + "</｜DSML｜function_calls>", ParseStatus.BAD_CALL, ()),
        (HEAD.replace('="f"', "=f") + TAIL, ParseStatus.BAD_CALL, ()),
        ("<｜DSML｜function_calls>\n</｜DSML｜function_calls>", ParseStatus.BAD_CALL, ()),
        (HEAD + TAIL[: TAIL.index("\n")], ParseStatus.UNCLOSED, (ToolCall("f", {}),)),
        (HEAD.split("\n")[1] + TAIL, ParseStatus.BAD_CALL, (ToolCall("f", {}),)),
    ],
)  # fmt: skip
def test_broken_tags_are_no_call(dialect, text, status, calls):
    reply = get_dialect(dialect).parse(text)
    assert (reply.status, reply.calls, reply.response) == (status, calls, None)
    assert not reply.calls_intact


@DSML
def test_a_value_cannot_hold_a_tag(dialect):
    calls = (ToolCall("f", {"a": "x </｜DSML｜parameter> y"}),)
    with pytest.raises(InputError, match="cannot express this calls"):
        get_dialect(dialect).render(thought=None, calls=calls, response=None)


@DSML
def test_a_thought_that_lacks_its_end_does_not_end_in_a_value(dialect):
    dialect = get_dialect(dialect)
    calls = (ToolCall("f", {"a": "b", "c": "x </think> y"}), ToolCall("g", {"d": ["</think>"]}))
    text = dialect.render(thought=None, calls=calls, response=None)
    reply = dialect.parse(f"<think>I see{text}")
    assert (reply.calls, reply.thought, reply.well_formed) == (calls, "I see", False)
    for end in range(len(text)):
        cut = dialect.parse(f"<think>I see{text[:end]}")
        assert cut.response is None and cut.calls == calls[: len(cut.calls)]
    reply = dialect.parse(f"<think>I write {HEAD} now</think>Yes.")
    assert (reply.response, reply.calls, reply.status) == ("Yes.", (), ParseStatus.OK)

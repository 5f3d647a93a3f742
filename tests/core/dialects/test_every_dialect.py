"""What holds for every dialect and every text."""

import re
from dataclasses import replace

import pytest
from cells import share
from hypothesis import assume, given
from hypothesis import strategies as st
from replies import calls, prose, spoiled

from toolrest.core.dialects import ParseStatus, ToolCall, dialect_names, get_dialect
from toolrest.core.dialects.base import SPACES
from toolrest.errors import InputError

every_dialect = pytest.mark.parametrize("name", dialect_names())


def render(name, thought, calls, response):
    """The reply's text; a reply that the dialect cannot express is not an example."""
    try:
        return get_dialect(name).render(thought=thought, calls=calls, response=response)
    except InputError:
        assume(False)
        raise


@every_dialect
@given(thought=prose, calls=calls, response=prose)
def test_parse_reverses_render(name, thought, calls, response):
    reply = get_dialect(name).parse(render(name, thought, calls, response))
    assert reply.thought == (None if thought is None else thought.strip(SPACES))
    assert reply.calls == calls
    assert reply.response == (None if response is None else response.strip(SPACES))
    nothing = thought is None and not calls and response is None
    assert reply.status is (ParseStatus.EMPTY if nothing else ParseStatus.OK)
    assert reply.well_formed and reply.calls_intact


@every_dialect
@share(2)
@given(thought=prose, calls=calls, response=prose, data=st.data())
def test_whatever_is_written_has_a_reply_whose_spans_cover_it(name, thought, calls, response, data):
    clean = render(name, thought, calls, response).encode("utf-8", "surrogatepass")
    broken = data.draw(spoiled(clean))
    for text in (broken.decode("utf-8", "replace"), broken.decode("latin-1")):
        reply = get_dialect(name).parse(text)
        assert "".join(text[span.start : span.end] for span in reply.spans) == text
        assert all(a.end == b.start for a, b in zip(reply.spans, reply.spans[1:], strict=False))
        assert (reply.status is ParseStatus.OK) == (reply.position is None)


def without_places(scan, thought=True):
    kept = replace(scan, spans=(), position=None)
    return kept if thought else replace(kept, thought=None)


@every_dialect
@share(2)
@given(thought=prose, calls=calls, response=prose, data=st.data())
def test_what_a_reward_reads_is_what_the_scanner_sees(name, thought, calls, response, data):
    dialect = get_dialect(name)
    clean = render(name, thought, calls, response)
    broken = data.draw(spoiled(clean.encode("utf-8", "surrogatepass"))).decode("utf-8", "replace")
    for text in (clean, broken):
        scan = dialect.scan(text)
        assert without_places(dialect.read(text)) == without_places(scan)
        shortened = dialect.scan(dialect.without_thought(text))
        assert without_places(shortened, thought=False) == without_places(scan, thought=False)


@every_dialect
@given(text=st.text())
def test_any_text_has_a_reply(name, text):
    spans = get_dialect(name).parse(text).spans
    assert sum(span.end - span.start for span in spans) == len(text)


CALL = (ToolCall("f", {"a": [1, {"b": "c"}]}),)


@every_dialect
def test_one_part_alone_is_written_and_read(name):
    dialect = get_dialect(name)
    for thought, called, response in ((None, CALL, None), ("t", CALL * 3, None), ("t", (), "r")):
        reply = dialect.parse(dialect.render(thought=thought, calls=called, response=response))
        assert (reply.thought, reply.calls, reply.response) == (thought, called, response)


@every_dialect
def test_what_cannot_be_expressed_is_said(name):
    dialect = get_dialect(name)
    text = dialect.render(thought="t", calls=CALL, response=None)
    with pytest.raises(InputError, match=f"{name} cannot express this thought"):
        dialect.render(thought=f"a {text} b", calls=(), response="r")


HARD = """
<think>
<tool_call>
<tool_call>{
<tool_call>{"name":"a","arguments":{x</tool_call>
<tool_call>{"name":"a","parameters":{"b": 'x'}}</tool_call>
<think><tool_call>{
{"name": "a", "parameters": {
{"name": "a", "arguments": {"x": [
<function=a><parameter=b>
<tool_call><function=a>
<parameter=b>["
<parameter=b>["</parameter>
<function=a><parameter=b>[</parameter>
<tool_call>a
<tool_call>a<arg_key>b</arg_key><arg_value>
<arg_key>b</arg_key><arg_value>["</arg_value>
<minimax:tool_call><invoke name="a">
<invoke name="a"><parameter name="b">{"
<parameter name="b">{"</parameter>
to=a<|message|><atem:function_calls>
<|start|>assistant to=a<|message|><atem:function_calls><atem:invoke name="a">
<atem:invoke name="a"><atem:parameter name="b">["
<|message|>
[f(
[f(a="
[f(a=1),
[TOOL_CALLS][{
[TOOL_CALLS]f[ARGS]{"a": "
[TOOL_CALLS]f[CALL_ID]
<｜tool▁calls▁begin｜>
<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": [
<｜tool▁call▁begin｜>function<｜tool▁sep｜>f```json{
<｜DSML｜tool_calls><｜DSML｜invoke name="f">
<｜DSML｜parameter name="a" string="true">
<|tool_calls_section_begin|><|tool_call_begin|>
<|tool_call_begin|>
<｜tool▁call▁begin｜>
<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": '
<|python_tag|>{
<|channel|>
<|start|>assistant<|channel|>analysis<|message|>
<|tool_call_start|>[f(a='
<|tool_call_start|>[f(a="<|tool_call_end|>", b='
[f(a=',f(b="
<|channel>thought
<|tool_call>call:f{a:[{
<|tool_call>call:f{a:<|"|><tool_call|><|"|>,b:<|"|>
<start_function_call>call:f{a:<escape>
to=x
{
[
(
'
"
\\
</think>
;
,
""".strip().splitlines()


MARKS = sorted(
    {
        mark
        for name in dialect_names()
        for mark in (*get_dialect(name).special_tokens, *get_dialect(name).thought_marks)
    }
    | {*HARD, "; {", "}}", "</parameter>", "</function>", "\n```", "[/THINK]", "\n[f(", ")]"}
)
"""Everything that means something in some dialect."""
marked = st.lists(st.sampled_from(MARKS) | st.sampled_from("a \n東"), max_size=5).map("".join)
marked_values = st.recursive(
    marked, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(marked, inner, max_size=2)
)
marked_calls = st.lists(
    st.builds(ToolCall, st.just("f"), st.dictionaries(st.sampled_from("ab"), marked_values)),
    min_size=1,
    max_size=2,
).map(tuple)


SAY_MORE_WHEN_CUT = ("pythonic", "lfm2", "gemma4", "functiongemma", "muse")
"""A cut in these, and where values are plain texts, may be read as more text: in the first two an
opening bracket is a response until a name follows, in the next two a string that is cut is believed
to have lost its end and the block is left at the mark that it holds, and a cut mark of Gemma's or
Muse's is text. None of it is a call, which `check_beginnings` holds for them too."""


def check_beginnings(dialect, text, ends):
    """What is read of a text that is cut is the beginning of what is read of the whole."""
    whole = dialect.parse(text)
    assert whole.status is ParseStatus.OK and whole.well_formed and whole.calls_intact
    for end in ends:
        reply = dialect.parse(text[:end])
        assert reply.calls == whole.calls[: len(reply.calls)], text[:end]
        if dialect.reads_types or dialect.name in SAY_MORE_WHEN_CUT:
            continue
        begun = next((text[s.start : end] for s in whole.spans if s.start < end < s.end), "")
        for read, wanted in ((reply.thought, whole.thought), (reply.response, whole.response)):
            if (
                read is not None and len(begun) < 32
            ):  # the beginning of a mark is text until it ends
                read = read.removesuffix(begun.strip(SPACES)).rstrip(SPACES)
            assert not read or (wanted or "").startswith(read), text[:end]


@every_dialect
@given(
    calls=marked_calls,
    thought=st.none() | st.just("t"),
    response=st.none() | st.just("Yes."),
    data=st.data(),
)
def test_what_is_said_in_a_value_is_no_mark(name, calls, thought, response, data):
    try:
        text = get_dialect(name).render(thought=thought, calls=calls, response=response)
    except InputError:
        return
    ends = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    check_beginnings(get_dialect(name), text, ends)


def renders(dialect, value):
    try:
        return dialect.render(thought=None, calls=(ToolCall("f", {"a": value}),), response=None)
    except InputError:
        return None


def quotes(dialect):
    """Whether a dialect writes texts in quotes, so that they can hold any mark."""
    return re.search("[:=] ?[\"']x y", renders(dialect, "x y")) is not None


@every_dialect
def test_a_thought_that_lacks_its_end_does_not_end_in_a_value(name):
    dialect = get_dialect(name)
    opens, closes = dialect.thought_marks
    if not quotes(dialect):
        return
    calls = (ToolCall("f", {"a": f"x {closes} y"}), ToolCall("g", {"b": [closes]}))
    call = dialect.render(thought=None, calls=calls, response=None)
    for end in ("", closes + "\n", f'{{"{closes}'):
        reply = dialect.parse(f"{opens}I see\n{end}{call}")
        assert reply.calls == calls
        assert (reply.thought or "").startswith("I see")
        assert reply.well_formed == (end != "")


@every_dialect
@pytest.mark.parametrize("every", [131, pytest.param(13, marks=pytest.mark.slow)])
def test_values_that_hold_marks_are_read_back_wherever_the_text_is_cut(name, every):
    dialect = get_dialect(name)
    held = [mark for mark in MARKS if renders(dialect, f"x {mark} y") is not None]
    assert len(held) >= len(MARKS) - (0 if quotes(dialect) else 16)  # its own are no text there
    parameters = {f"p{number}": f"x {mark} y" for number, mark in enumerate(held)}
    for thought in (None, "t"):
        calls = (ToolCall("f", parameters | {"all": held}), ToolCall("g", {"a": {"b": held}}))
        text = dialect.render(thought=thought, calls=calls, response=None)
        check_beginnings(dialect, text, range(len(thought or ""), len(text), every))


@every_dialect
def test_the_end_of_a_call_in_a_value_ends_no_call_wherever_the_text_is_cut(name):
    dialect = get_dialect(name)
    whole = dialect.render(thought=None, calls=(ToolCall("f", {"a": ["zz"]}),), response=None)
    ends = whole[whole.rindex("zz") + 2 :].lstrip("'\"")
    spaceless = re.sub(r"\s", "", ends)
    for held in (spaceless, spaceless.lstrip("]}"), ends.replace("\n", " ")):
        for value in ([held], {"b": [held, "c"]}, [["x", held]]):
            calls = (ToolCall("f", {"a": value}), ToolCall("g", {}))
            try:
                text = dialect.render(thought=None, calls=calls, response=None)
            except InputError:
                continue
            check_beginnings(dialect, text, range(len(text)))


@every_dialect
@pytest.mark.parametrize("size", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_megabyte_of_nothing_good_is_read_to_its_end(name, size):
    """A scan that goes back would take minutes over each megabyte."""
    for piece in HARD:
        for text in (piece * (size // len(piece)), "<think>" + piece * (size // 2 // len(piece))):
            spans = get_dialect(name).parse(text).spans
            assert sum(span.end - span.start for span in spans) == len(text), piece


QUOTES = ('<|"|>', "<escape>", '"', "'")


@every_dialect
@pytest.mark.parametrize("opening", ["{", "["])
def test_ten_thousand_brackets_are_a_bad_call(name, opening):
    dialect = get_dialect(name)
    text = dialect.render(thought=None, calls=(ToolCall("f", {"a": "VALUE"}),), response=None)
    quoted = next(f"{q}VALUE{q}" for q in (*QUOTES, "") if f"{q}VALUE{q}" in text)
    deep = opening * 10_000 + "".join({"{": "}", "[": "]"}[c] for c in opening * 10_000)
    reply = dialect.parse(text.replace(quoted, deep))
    names = [s for s in reply.spans if s.region.name == "NAME"]
    assert len(names) == 1
    if quoted == "VALUE":  # any text is a value
        assert reply.calls[0].parameters == {"a": deep}
    else:
        assert reply.status in (ParseStatus.BAD_CALL, ParseStatus.UNCLOSED)
        assert not reply.calls_intact

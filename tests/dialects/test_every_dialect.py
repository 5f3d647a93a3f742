"""What holds for every dialect and every text."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from replies import calls, prose, spoiled

from toolrest.dialects import ParseStatus, ToolCall, dialect_names, get_dialect
from toolrest.dialects.base import SPACES
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


@every_dialect
@pytest.mark.parametrize("piece", HARD)
def test_a_megabyte_of_nothing_good_is_read_to_its_end(name, piece):
    """A scan that goes back would take minutes over each."""
    for text in (piece * (1_000_000 // len(piece)), "<think>" + piece * (500_000 // len(piece))):
        spans = get_dialect(name).parse(text).spans
        assert sum(span.end - span.start for span in spans) == len(text)


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
    if name in ("qwen_xml", "glm", "minimax", "muse"):  # any text is a value
        assert reply.calls[0].parameters == {"a": deep}
    else:
        assert reply.status in (ParseStatus.BAD_CALL, ParseStatus.UNCLOSED)
        assert not reply.calls_intact

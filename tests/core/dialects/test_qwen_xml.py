import pytest
from chat_templates import called, shipped, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region
from toolrest.engines.common.reward import ToolReward

QWEN = get_dialect("qwen_xml")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "description": "A tool.",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "count": {"type": "integer"},
                    "sure": {"type": "boolean"},
                    "note": {"type": ["string", "null"]},
                    "tags": {"type": "array"},
                },
            },
        },
    }
]


def call(*parameters, name="f"):
    """A block as templates write it."""
    inner = "".join(f"<parameter={key}>\n{text}\n</parameter>\n" for key, text in parameters)
    return f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        *(("text", "12", "12"), ("text", "True", "True"), ("text", "None", "None")),
        *(("count", "12", 12), ("sure", "True", True), ("sure", "true", True)),
        *(("note", "None", None), ("note", "null", None), ("note", "12", "12")),
        *(("tags", '["a", "b"]', ["a", "b"]), ("tags", "['a', 'b']", ["a", "b"])),
        ("other", "12", 12),
    ],
)
def test_values_by_the_declared_type(key, text, value):
    for read in (QWEN.parse, QWEN.scan, QWEN.read):
        (found,) = read(call((key, text)), TOOLS).calls
        assert repr(found.parameters) == repr({key: value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("12", 12), ("True", True), ("None", None), ('["a"]', ["a"]), ("['a']", "['a']")),
        *(("Oslo", "Oslo"), ('"12"', '"12"')),
    ],
)
def test_values_without_a_schema(text, value):
    (found,) = QWEN.parse(call(("x", text))).calls
    assert repr(found.parameters) == repr({"x": value})


def test_a_reward_takes_pythons_words_for_jsons():
    texts = [call(("x", text)) for text in ("True", "true")]
    reward = ToolReward(dialect="qwen_xml", schedule="constant")
    assert reward.score(texts[0], texts[1]).exact


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("\nfoo\n", "foo"),
        ("foo", "foo"),
        ("foo\n", "foo"),
        ("\nfoo", "foo"),
        ("\n\n foo \n\n", "\n foo \n"),
        ("\n\n", ""),
        ("\n", ""),
        ("", ""),
        ("\r\nfoo\r\nbar\r\n", "foo\r\nbar"),
        ("\n\r\nfoo\r\n\n", "\r\nfoo\r\n"),
        ("\nfoo\r\n", "foo\r"),
    ],
)
def test_one_line_break_on_each_side_is_no_part_of_a_value(written, value):
    text = call(("text", "")).replace("\n\n</parameter>", f"{written}</parameter>")
    assert QWEN.parse(text, TOOLS).calls == (ToolCall("f", {"text": value}),)


def test_calls_without_their_blocks_opening():
    bare = call(("x", "1")).removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    reply = QWEN.parse(f"Yes.\n{bare}\n{bare}")
    assert reply.calls == (ToolCall("f", {"x": 1}),) * 2
    assert (reply.status, reply.blocks) == (ParseStatus.OK, (Block.RESPONSE, Block.CALLS))
    reply = QWEN.parse(f"{bare}\n</tool_call>")
    assert (len(reply.calls), reply.status) == (1, ParseStatus.BAD_CALL)
    assert not any(span.region is Region.RESPONSE for span in reply.spans)


def test_two_calls_in_one_block_are_read_and_are_a_defect():
    text = call(("x", "1")).replace("</tool_call>", "<function=g>\n</function>\n</tool_call>")
    reply = QWEN.parse(text)
    assert reply.calls == (ToolCall("f", {"x": 1}), ToolCall("g", {}))
    assert (reply.status, reply.calls_intact) == (ParseStatus.BAD_CALL, False)


def test_a_broken_call_does_not_hide_the_next_one():
    broken = call(("x", "1")).replace("</parameter>", "</param>")
    reply = QWEN.parse(f"{broken}\n{call(('y', '2'))}")
    assert (reply.calls, reply.status) == ((ToolCall("f", {"y": 2}),), ParseStatus.BAD_CALL)
    assert [span.region for span in reply.spans].count(Region.NAME) == 2
    assert Region.RESPONSE not in {span.region for span in reply.spans}


def test_a_mark_of_a_thought_in_a_value_ends_none():
    block = call(("text", "a </think> b"))
    for text in (block, block.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")):
        reply = QWEN.parse(text, TOOLS)
        assert (reply.thought, reply.status) == (None, ParseStatus.OK)
        assert reply.calls == (ToolCall("f", {"text": "a </think> b"}),)


@pytest.mark.parametrize(
    ("template", "options", "opening"),
    [
        ("qwen3_5_think", {}, "<think>\n"),
        ("qwen3_5_think", {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
        ("qwen3_5_nothink", {}, "<think>\n\n</think>\n\n"),
        ("qwen3_5_nothink", {"enable_thinking": True}, "<think>\n"),
        ("qwen3_6", {}, "<think>\n"),
        ("qwen3_8", {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
        ("nemotron_3_nano", {}, "<think>\n"),
        ("nemotron_3_nano", {"enable_thinking": False}, "<think></think>"),
        ("nemotron_3_ultra", {"enable_thinking": False}, "<think></think>"),
    ],
)
def test_what_a_prompt_has_written_of_the_thought(template, options, opening):
    message = {"content": "", "tool_calls": called(("f", {"count": 12, "text": "12"}))}
    dialect, found, whole = turn(shipped(template), message, TOOLS, **options)
    assert (dialect.name, found) == ("qwen_xml", opening)
    wanted = (ToolCall("f", {"count": 12, "text": "12"}),)
    rest = dialect.continued(whole, opening)
    reply = dialect.parse(rest, TOOLS, opening=opening)
    assert (reply.thought, reply.calls, reply.status) == ("", wanted, ParseStatus.OK)
    unclosed = dialect.parse("I should", TOOLS, opening=opening)
    if "</think>" in opening:
        assert (unclosed.response, unclosed.status) == ("I should", ParseStatus.OK)
    else:
        assert (unclosed.thought, unclosed.status) == ("I should", ParseStatus.UNCLOSED)
        assert unclosed.blocks == (Block.THOUGHT,)


@pytest.mark.parametrize("template", ["qwen3_6", "qwen3_8"])
@pytest.mark.parametrize("response", [None, "Let me see."])
def test_a_reply_is_written_as_the_template_writes_it(template, response):
    parameters = {"text": "a\n\nb", "count": 3, "sure": True, "note": None, "tags": ["é", 1.5]}
    message = {
        "content": response or "",
        "reasoning_content": "I plan.",
        "tool_calls": called(("f", parameters), ("f", {})),
    }
    _, _, written = turn(shipped(template), message, TOOLS)
    calls = (ToolCall("f", parameters), ToolCall("f", {}))
    text = QWEN.render(thought="I plan.", calls=calls, response=response, tools=TOOLS)
    assert text == written

import pytest
from chat_templates import GLM_4_7, called, shipped, turn

from toolrest.core.dialects import ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region

GLM = get_dialect("glm")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "description": "A tool.",
            "parameters": {
                "type": "object",
                "properties": {"code": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    }
]
CALL = ToolCall("f", {"code": "12", "days": 3})


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>f\n<arg_key>code</arg_key>\n<arg_value>12</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        "<tool_call>f<arg_key>code</arg_key><arg_value>12</arg_value>"
        "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
        "<tool_call>\nf\r\n<arg_key>code</arg_key>\r\n<arg_value>12</arg_value>\r\n"
        "<arg_key>days</arg_key> <arg_value> 3\n</arg_value></tool_call>",
    ],
)
def test_with_line_breaks_and_without(text):
    assert GLM.parse(text, TOOLS).calls == (CALL,)
    assert GLM.parse(text).calls == (ToolCall("f", {"code": 12, "days": 3}),)
    assert GLM.parse(text * 3, TOOLS).calls == (CALL,) * 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<tool_call>f</tool_call>", "f"),
        ("<tool_call>f\n</tool_call>", "f"),
        ("<tool_call>Daily Match (List)\n</tool_call>", "Daily Match (List)"),
        ("<tool_call>größe.東京\n</tool_call>", "größe.東京"),
    ],
)
def test_a_call_without_parameters(text, name):
    reply = GLM.parse(text)
    assert (reply.calls, reply.status) == ((ToolCall(name, {}),), ParseStatus.OK)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        "<tool_call></tool_call>",
        "<tool_call>\n</tool_call>",
        "<tool_call>f\nplease</tool_call>",
        "<tool_call>f\n<arg_key>a</arg_key>\n</tool_call>",
        "<tool_call>f\n<arg_key>a\n<arg_value>1</arg_value>\n</tool_call>",
        "<tool_call>f\n<arg_value>1</arg_value>\n</tool_call>",
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1\n</tool_call>",
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1\n<arg_key>b</arg_key>\n"
        "<arg_value>2</arg_value>\n</tool_call>",
        "<tool_call>f\n<arg_key>a</arg_key><arg_key>b</arg_key><arg_value>2</arg_value></tool_call>",
    ],
)
def test_what_is_no_call(text):
    reply = GLM.parse(f"{text}\n<tool_call>g\n</tool_call>")
    assert (reply.calls, reply.status) == ((ToolCall("g", {}),), ParseStatus.BAD_CALL)
    assert not reply.calls_intact
    assert Region.RESPONSE not in {span.region for span in reply.spans}


@pytest.mark.parametrize(
    ("template", "options", "opening", "thought"),
    [
        (shipped("glm4moe"), {}, "", ""),
        (shipped("glm4moe"), {"enable_thinking": False}, "<think></think>", ""),
        (GLM_4_7, {}, "<think>", ""),
        (GLM_4_7, {"enable_thinking": False}, "</think>", ""),
    ],
)
def test_what_a_prompt_has_written_of_the_thought(template, options, opening, thought):
    message = {"content": "", "tool_calls": called(("f", CALL.parameters))}
    if opening == "<think>":
        message["reasoning_content"] = thought = "I plan."
    dialect, found, whole = turn(template, message, TOOLS, **options)
    assert (dialect.name, found) == ("glm", opening)
    reply = dialect.parse(dialect.continued(whole, opening), TOOLS, opening=opening)
    assert (reply.thought, reply.calls, reply.status) == (thought, (CALL,), ParseStatus.OK)
    said = dialect.parse("\nHello!", opening=opening)
    if opening == "<think>":
        assert (said.thought, said.status) == ("Hello!", ParseStatus.UNCLOSED)
    else:
        assert (said.response, said.status) == ("Hello!", ParseStatus.OK)


@pytest.mark.parametrize("response", [None, "Let me see."])
def test_a_reply_is_written_as_the_template_writes_it(response):
    parameters = {"code": "a\n\nb", "days": 3, "x": True, "y": None, "z": ["é", 1.5]}
    message = {
        "content": response or "",
        "reasoning_content": "I plan.",
        "tool_calls": called(("f", parameters), ("f", {"days": 1})),
    }
    _, _, written = turn(shipped("glm4moe"), message, TOOLS)
    calls = (ToolCall("f", parameters), ToolCall("f", {"days": 1}))
    text = GLM.render(thought="I plan.", calls=calls, response=response, tools=TOOLS)
    assert text == written


def test_a_reply_is_shortened_after_the_line_break_that_it_starts_with():
    text = GLM.render(thought="I plan.", calls=(CALL,), response=None, tools=TOOLS)
    short = GLM.without_thought(text)
    assert "I plan." not in short
    assert GLM.parse(short, TOOLS).calls == (CALL,)

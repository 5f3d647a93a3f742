import pytest
from chat_templates import MINIMAX_M2, called, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region

MINIMAX = get_dialect("minimax")
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


def block(*invokes):
    return "<minimax:tool_call>\n" + "\n".join(invokes) + "\n</minimax:tool_call>"


def invoke(name, *parameters):
    inner = "".join(f'<parameter name="{k}">{v}</parameter>\n' for k, v in parameters)
    return f'<invoke name="{name}">\n{inner}</invoke>'


def test_several_calls_in_one_block_and_several_blocks():
    one, two = invoke("f", ("code", "12"), ("days", "3")), invoke("g", ("a", "[1]"))
    wanted = (ToolCall("f", {"code": "12", "days": 3}), ToolCall("g", {"a": [1]}))
    for text in (block(one, two), block(one) + "\n" + block(two), block(one + two)):
        reply = MINIMAX.parse(text, TOOLS)
        assert (reply.calls, reply.status) == (wanted, ParseStatus.OK)
        assert reply.blocks == (Block.CALLS,)


def test_values_are_kept_as_they_stand():
    for text in ("\n a \n", "", " ", "a\r\nb", "'", '"', "<b>x</b>", "&lt;"):
        reply = MINIMAX.parse(block(invoke("f", ("code", text))), TOOLS)
        assert reply.calls == (ToolCall("f", {"code": text}),)


@pytest.mark.parametrize(
    "text",
    [
        block(),
        block("text"),
        block("<invoke name=f>\n</invoke>"),
        block('<invoke name="f>\n</invoke>'),
        block('<invoke name="f">\n<parameter name=a>1</parameter>\n</invoke>'),
        block('<invoke name="f">\ntext\n</invoke>'),
        block('<invoke name="f">\n<parameter name="a">1</invoke>'),
        block('<invoke name="f">', invoke("h")).replace("</invoke>", "", 1),
    ],
)
def test_what_is_no_call(text):
    reply = MINIMAX.parse(f"{text}\n{block(invoke('g'))}")
    assert (reply.calls, reply.status) == ((ToolCall("g", {}),), ParseStatus.BAD_CALL)
    assert Region.RESPONSE not in {span.region for span in reply.spans}


def test_an_invocation_outside_of_a_block_is_text():
    reply = MINIMAX.parse(invoke("f"))
    assert (reply.calls, reply.response) == ((), invoke("f"))


@pytest.mark.parametrize(("thought", "response"), [("I plan.", "Let me see."), (None, None)])
def test_a_reply_is_written_as_the_template_writes_it(thought, response):
    parameters = {"code": "a\n\nb", "days": 3, "x": True, "y": None, "z": ["é", 1.5]}
    message = {
        "content": response or "",
        "reasoning_content": thought,
        "tool_calls": called(("f", parameters), ("f", {})),
    }
    dialect, opening, written = turn(MINIMAX_M2, message, TOOLS)
    assert (dialect.name, opening) == ("minimax", "<think>\n")
    calls = (ToolCall("f", parameters), ToolCall("f", {}))
    text = MINIMAX.render(thought=thought, calls=calls, response=response, tools=TOOLS)
    assert text == written
    reply = MINIMAX.parse(MINIMAX.continued(text, opening), TOOLS, opening=opening)
    assert (reply.thought, reply.calls, reply.response) == (thought or "", calls, response)
    assert reply.status is ParseStatus.OK

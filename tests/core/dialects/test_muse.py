import pytest
from chat_templates import called, render, shipped, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region

MUSE = get_dialect("muse")
TEMPLATE = shipped("muse_glimmer")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "A tool.",
            "parameters": {
                "type": "object",
                "properties": {"code": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    }
    for name in ("f", "trips.plan")
]


def message(name, *parameters, recipient=None, end="<|eot|>"):
    """A message to a tool, as templates write it."""
    inner = "".join(f'<atem:parameter name="{k}">{v}</atem:parameter>\n' for k, v in parameters)
    return (
        f" to={recipient or name}<|message|><atem:function_calls>\n"
        f'<atem:invoke name="{name}">\n{inner}</atem:invoke>\n</atem:function_calls>{end}'
    )


def messages(*each):
    return "<|eom|><|start|>assistant".join(each)


def test_a_thought_then_calls_then_nothing_else():
    text = messages(
        " to=self<|message|>I plan\n\nthis.",
        message("trips.plan", ("code", "12"), ("days", "3"), end=""),
        message("f"),
    )
    reply = MUSE.parse(text, TOOLS)
    assert reply.thought == "I plan\n\nthis."
    assert reply.calls == (ToolCall("trips.plan", {"code": "12", "days": 3}), ToolCall("f", {}))
    assert (reply.response, reply.status) == (None, ParseStatus.OK)
    assert reply.blocks == (Block.THOUGHT, Block.CALLS)
    assert reply.well_formed and reply.calls_intact


def test_text_to_the_user():
    for text in (
        " to=user<|message|>Hello!<|eot|>",
        "<|message|>Hello!",
        " to=user<|message|>Hello!",
    ):
        reply = MUSE.parse(text)
        assert (reply.response, reply.status) == ("Hello!", ParseStatus.OK)
    reply = MUSE.parse(messages(" to=self<|message|>So.", " to=user<|message|>Yes.<|eot|>"))
    assert (reply.thought, reply.response, reply.status) == ("So.", "Yes.", ParseStatus.OK)
    assert MUSE.parse(" to=user<|message|><|eot|>").response == ""


def test_what_is_said_in_a_thought_or_to_the_user_is_no_call():
    said = message("f", ("code", "1")).partition("<|message|>")[2].removesuffix("<|eot|>")
    reply = MUSE.parse(messages(f" to=self<|message|>{said}", f" to=user<|message|>{said}<|eot|>"))
    assert (reply.thought, reply.response, reply.calls) == (said, said, ())
    assert reply.status is ParseStatus.OK


@pytest.mark.parametrize("end", ["<|eot|>", ""])
def test_an_engine_may_cut_the_turns_end_off(end):
    reply = MUSE.parse(message("f", ("days", "3"), end=end))
    assert (reply.calls, reply.status) == ((ToolCall("f", {"days": 3}),), ParseStatus.OK)


@pytest.mark.parametrize(
    ("written", "tools", "read"),
    [
        ("f.f", TOOLS, "f"),
        ("f.f", None, "f.f"),
        ("f.g", TOOLS, "f.g"),
        ("trips.plan", TOOLS, "trips.plan"),
        ("plan.plan", TOOLS, "plan.plan"),
        ("f.f", [*TOOLS, {"name": "f.f"}], "f.f"),
        ("f.f.f", TOOLS, "f.f.f"),
    ],
)
def test_a_tools_name_where_the_prompt_lists_its_namespace(written, tools, read):
    reply = MUSE.parse(message(written, ("code", "12")), tools)
    value = "12" if read in ("f", "trips.plan") and tools else 12
    assert (reply.calls, reply.status) == ((ToolCall(read, {"code": value}),), ParseStatus.OK)
    mixed = MUSE.parse(message(written, recipient="f"), tools)
    assert (mixed.status is ParseStatus.OK) == (read == "f")


BROKEN = [
    (message("f", ("code", "1"), recipient="g"), "f", ParseStatus.BAD_CALL),
    (" to=f<|message|>Hello<|eot|>", None, ParseStatus.BAD_CALL),
    (" to=f<|message|><|eot|>", None, ParseStatus.BAD_CALL),
    (" to=f<|message|>", None, ParseStatus.UNCLOSED),
    (" to=f<|message|><atem:func", None, ParseStatus.UNCLOSED),
    (" to=f", None, ParseStatus.UNCLOSED),
    (" to=", None, ParseStatus.UNCLOSED),
    (message("f") + " and more", "f", ParseStatus.STRAY_TEXT),
    (message("f").replace("<|eot|>", " and more<|eot|>"), "f", ParseStatus.BAD_CALL),
    (message("f").replace("<|eot|>", "<|start|>assistant"), "f", ParseStatus.UNCLOSED),
    (message("f").replace("</atem:function_calls>", ""), "f", ParseStatus.UNCLOSED),
    (message("f").replace("</atem:invoke>", ""), None, ParseStatus.BAD_CALL),
    (message("f", ("a", "<|eot|>")), None, ParseStatus.BAD_CALL),
    (message("f", ("a", "x")).replace("</atem:parameter>", "<|eom|>"), None, ParseStatus.BAD_CALL),
]  # fmt: skip


@pytest.mark.parametrize(("text", "called", "status"), BROKEN)
def test_what_is_broken_in_a_message_to_a_tool(text, called, status):
    reply = MUSE.parse(text)
    assert [call.name for call in reply.calls] == ([called] if called else [])
    assert reply.status is status
    assert reply.calls_intact == (status is ParseStatus.STRAY_TEXT)
    assert Region.RESPONSE not in {span.region for span in reply.spans}
    following = MUSE.parse(f"{text}<|start|>assistant{message('h')}")
    assert following.calls[-1:] == (ToolCall("h", {}),) or text.endswith((" to=f", " to=", "func"))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (" to=self<|message|>So", ParseStatus.UNCLOSED),
        (" to=self<|message|>So<|start|>assistant to=user<|message|>Yes.", ParseStatus.UNCLOSED),
        (" to=user<|message|>So<|start|>assistant to=user<|message|>Yes.", ParseStatus.UNCLOSED),
        (" to=user", ParseStatus.UNCLOSED),
        (" to=user and more", ParseStatus.STRAY_TEXT),
        ("Hello", ParseStatus.STRAY_TEXT),
        ("<|start|>user<|message|>Hello", ParseStatus.STRAY_TEXT),
        ("", ParseStatus.EMPTY),
    ],
)
def test_what_is_broken_elsewhere(text, status):
    reply = MUSE.parse(text)
    assert reply.status is status
    assert reply.calls_intact


def test_several_calls_in_one_message_are_read():
    text = message("f", ("days", "1")).replace(
        "</atem:invoke>", '</atem:invoke>\n<atem:invoke name="f">\n</atem:invoke>'
    )
    reply = MUSE.parse(text)
    assert reply.calls == (ToolCall("f", {"days": 1}), ToolCall("f", {}))
    assert reply.status is ParseStatus.OK


def test_a_prompt_ends_before_the_header():
    prompt = render(TEMPLATE, [{"role": "user", "content": "x"}], TOOLS, add_generation_prompt=True)
    assert prompt.endswith("<|eot|><|start|>assistant")
    assert MUSE.opening(prompt) == ""


def test_a_reply_is_written_as_the_template_writes_it():
    parameters = {"code": "a\n\nb", "days": 3, "x": True, "y": None, "z": ["é", 1.5]}
    calls = (ToolCall("trips.plan", parameters), ToolCall("f", {}))
    said = {
        "content": "",
        "reasoning_content": "I plan.",
        "tool_calls": called(*((call.name, call.parameters) for call in calls)),
    }
    _, _, written = turn(TEMPLATE, said, TOOLS)
    text = MUSE.render(thought="I plan.", calls=calls, response=None, tools=TOOLS)
    assert text == f"{written}<|eot|>"
    _, _, written = turn(TEMPLATE, {"content": "Hello!"}, TOOLS)
    assert MUSE.render(thought=None, calls=(), response="Hello!") == f"{written}<|eot|>"


def test_the_template_loses_text_beside_calls_and_the_dialect_does_not():
    calls = called(("f", {"days": 3}))
    texts = {
        turn(TEMPLATE, {"content": content, "tool_calls": calls}, TOOLS)[2]
        for content in ("", "Let me see.", "Or not.")
    }
    assert len(texts) == 1
    call = ToolCall("f", {"days": 3})
    text = MUSE.render(thought="t", calls=(call,), response="Let me see.", tools=TOOLS)
    assert MUSE.parse(text).response == "Let me see."

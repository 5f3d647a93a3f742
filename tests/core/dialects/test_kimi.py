import pytest
from turns import ODD_CALLS, QUESTION, message, render, turn

from toolrest.core.dialects import ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.core.regions import Region

KIMI = get_dialect("kimi")
SECTION, END_SECTION = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, END_CALL = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)
ONE = f'{CALL}functions.f:0{ARGUMENTS}{{"a": 1}}{END_CALL}'
READ = (ToolCall("f", {"a": 1}),)

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_assistant|>assistant<|im_middle|>"
    "{% if thinking %}<think>{{ m.reasoning_content or '' }}</think>{% endif %}"
    "{{ m.content or '' }}{% if m.tool_calls %}<|tool_calls_section_begin|>"
    "{% for c in m.tool_calls %}<|tool_call_begin|>{{ c.id }}<|tool_call_argument_begin|>"
    "{{ c.function.arguments | tojson }}<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>"
    "{% endif %}<|im_end|>{% else %}<|im_user|>{{ m.role }}<|im_middle|>{{ m.content }}<|im_end|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>"
    "{% if thinking %}<think>{% endif %}{% endif %}"
)
"""A template in the shape of Kimi K2's: of a call's name it writes what the id holds."""


def kimi_message(calls, **more):
    said = message(calls, **more)
    for number, listed in enumerate(said["tool_calls"]):
        listed["id"] = KIMI.call_id(listed["function"]["name"], number)
    return said


@pytest.mark.parametrize("call", ODD_CALLS, ids=range(len(ODD_CALLS)))
def test_what_a_template_writes_is_detected_and_read_back(call):
    assert detect_dialect(TEMPLATE) == "kimi"
    for calls, content in (((call,), ""), ((call, *ODD_CALLS[:2]), "Well.")):
        said = kimi_message(calls, content=content)
        text = turn(TEMPLATE, said, "<|im_middle|>", ("<|im_end|>",))
        text = text.rpartition("<|im_middle|>")[2]
        reply = KIMI.parse(text)
        assert reply.status is ParseStatus.OK, text
        assert repr(reply.calls) == repr(calls)
        assert (reply.thought, reply.response) == (None, content or None)


def test_an_id_without_the_name_loses_it():
    """Two different calls that the template writes alike."""
    said = [message((ToolCall(name, {}),)) for name in ("a", "b")]
    first, second = (render(TEMPLATE, [QUESTION, each]) for each in said)
    assert first == second


def test_k2_thinking_opens_the_thought():
    prompt = render(TEMPLATE, [QUESTION], add_generation_prompt=True, thinking=True)
    assert KIMI.opening(prompt) == "<think>"
    reply = KIMI.parse(f"Why</think>Well.{SECTION}{ONE}{END_SECTION}", opening="<think>")
    assert (reply.thought, reply.response, reply.calls) == ("Why", "Well.", READ)
    assert reply.status is ParseStatus.OK
    assert KIMI.opening(prompt + "</think>") == "<think></think>"


NAMES = {
    "functions.f:0": "f",
    "f:12": "f",
    "functions.get.news:3": "get.news",
    "functions.functions.f:0": "functions.f",
    " functions.f:0 ": "f",
    "functions.two words:0": "two words",
}


@pytest.mark.parametrize("identity", NAMES)
def test_the_name_within_an_id(identity):
    text = f"{SECTION}{CALL}{identity}{ARGUMENTS}{{}}{END_CALL}{END_SECTION}"
    reply = KIMI.parse(text)
    assert reply.calls == (ToolCall(NAMES[identity], {}),)
    assert reply.status is ParseStatus.OK
    [name] = [text[s.start : s.end] for s in reply.spans if s.region is Region.NAME]
    assert name == NAMES[identity]


@pytest.mark.parametrize(
    ("text", "status", "calls"),
    [
        (SECTION, ParseStatus.UNCLOSED, ()),
        (SECTION + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE, ParseStatus.UNCLOSED, READ),
        (SECTION + ONE[: -len(END_CALL)], ParseStatus.UNCLOSED, READ),
        (SECTION + ONE[: ONE.index("1")], ParseStatus.UNCLOSED, ()),
        (SECTION + ONE.replace(":0", "") + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE.replace("functions.f:0", "call_1") + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE.replace("f:0", "a:b:0") + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE.replace("functions.f:0", ":0") + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE.replace(ARGUMENTS, "") + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE.replace("{", "[{") + END_SECTION, ParseStatus.BAD_CALL, ()),
        (SECTION + ONE.replace("1", "one") + ONE + END_SECTION, ParseStatus.BAD_CALL, READ),
        (ONE + END_SECTION, ParseStatus.BAD_CALL, READ),
        (ONE, ParseStatus.UNCLOSED, READ),
    ],
)  # fmt: skip
def test_broken_calls_keep_what_was_recognised(text, status, calls):
    reply = KIMI.parse(text)
    assert (reply.status, reply.calls, reply.response) == (status, calls, None)
    assert not reply.calls_intact


def test_calls_are_numbered_and_their_own_section():
    text = KIMI.render(thought="t", calls=(*READ, ToolCall("g", {})), response="r")
    assert text == (
        f"<think>t</think>r{SECTION}{ONE}{CALL}functions.g:1{ARGUMENTS}{{}}{END_CALL}{END_SECTION}"
    )

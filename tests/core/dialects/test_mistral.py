import pytest
from turns import ODD_CALLS, message, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.core.regions import Region

BOTH = pytest.mark.parametrize("dialect", ["mistral", "mistral_v11"])
OSLO = ToolCall("get_weather", {"city": "Oslo"})
NONE = ToolCall("list_all", {})

READ = {
    '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}': (OSLO,),
    '[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Oslo"}': (OSLO,),
    '[TOOL_CALLS]list_all[ARGS]{}[TOOL_CALLS]get_weather[CALL_ID]9[ARGS]{"city": "Oslo"}': (
        NONE,
        OSLO,
    ),
    '[TOOL_CALLS] get_weather[ARGS] {"city": "Oslo"}\n[TOOL_CALLS]list_all[ARGS]{}\n': (OSLO, NONE),
    '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "a1B2c3D4e"}]': (
        OSLO,
    ),
    '[TOOL_CALLS] [{"name": "list_all", "arguments": {}}, {"name": "get_weather", "arguments": '
    '{"city": "Oslo"}}]': (NONE, OSLO),
    '[TOOL_CALLS]f[ARGS]{"a": "[TOOL_CALLS]g[ARGS]{}"}': (
        ToolCall("f", {"a": "[TOOL_CALLS]g[ARGS]{}"}),
    ),
}


@BOTH
@pytest.mark.parametrize("text", READ)
@pytest.mark.parametrize("before", ["", "[THINK]Why[/THINK]", "Well.", "[THINK]Why[/THINK]Well."])
def test_calls_of_every_version_are_read(dialect, text, before):
    reply = get_dialect(dialect).parse(before + text)
    assert reply.calls == READ[text]
    assert reply.thought == ("Why" if "Why" in before else None)
    assert reply.response == ("Well." if "Well." in before else None)
    assert (reply.status, reply.blocks[-1]) == (ParseStatus.OK, Block.CALLS)


@BOTH
@pytest.mark.parametrize(
    ("text", "status", "calls", "names"),
    [
        ("[TOOL_CALLS]", ParseStatus.UNCLOSED, (), []),
        ("[TOOL_CALLS]get_we", ParseStatus.UNCLOSED, (), ["get_we"]),
        ("[TOOL_CALLS]f[CALL_ID]", ParseStatus.UNCLOSED, (), ["f"]),
        ('[TOOL_CALLS]f[ARGS]{"a": "', ParseStatus.UNCLOSED, (), ["f"]),
        ("[TOOL_CALLS]f[ARGS][1]", ParseStatus.BAD_CALL, (), ["f"]),
        ("[TOOL_CALLS]f[ARGS]12", ParseStatus.BAD_CALL, (), ["f"]),
        ("[TOOL_CALLS][ARGS]{}", ParseStatus.BAD_CALL, (), []),
        ("[TOOL_CALLS]f{}", ParseStatus.BAD_CALL, (), ["f"]),
        ("[TOOL_CALLS]f[ARGS]{'a': 1}[TOOL_CALLS]list_all[ARGS]{}", ParseStatus.BAD_CALL, (NONE,),
         ["f", "list_all"]),
        ("[TOOL_CALLS]list_all[ARGS]{} So.", ParseStatus.STRAY_TEXT, (NONE,), ["list_all"]),
        ("[TOOL_CALLS]list_all[ARGS]{}}[TOOL_CALLS]list_all[ARGS]{}", ParseStatus.STRAY_TEXT,
         (NONE, NONE), ["list_all", "list_all"]),
    ],
)  # fmt: skip
def test_broken_calls_keep_what_was_recognised(dialect, text, status, calls, names):
    reply = get_dialect(dialect).parse(text)
    assert (reply.calls, reply.response) == (calls, None)
    assert reply.status is status
    found = [text[s.start : s.end] for s in reply.spans if s.region is Region.NAME]
    assert found == names


def test_each_dialect_writes_its_own_form():
    calls = (OSLO, NONE)
    parts = {"thought": "t", "calls": calls, "response": "r"}
    assert get_dialect("mistral").render(**parts) == (
        '[THINK]t[/THINK]r[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}}, '
        '{"name": "list_all", "arguments": {}}]'
    )
    assert get_dialect("mistral_v11").render(**parts) == (
        '[THINK]t[/THINK]r[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]list_all[ARGS]{}'
    )


def test_thoughts_between_tags_are_read_too():
    reply = get_dialect("mistral_v11").parse(
        "<think>\nt [TOOL_CALLS]</think>Hi[TOOL_CALLS]f[ARGS]{}"
    )
    assert (reply.thought, reply.response, len(reply.calls)) == ("t [TOOL_CALLS]", "Hi", 1)
    assert reply.status is ParseStatus.OK


@BOTH
def test_a_prompt_that_opens_the_thought(dialect):
    dialect = get_dialect(dialect)
    assert dialect.opening("<s>[INST]Hi[/INST][THINK]") == "[THINK]"
    assert dialect.opening("[INST]Hi <think>[/INST]") == ""
    reply = dialect.parse("t[/THINK]r", opening="[THINK]")
    assert (reply.thought, reply.response) == ("t", "r")


def templates():
    """The templates that mistral-common makes for its tokenizers' versions."""
    made = pytest.importorskip("mistral_common.integrations.chat_templates.chat_templates")
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    usual = {
        **dict.fromkeys(("image_support", "audio_support", "thinking_support"), False),
        **dict.fromkeys(("plain_thinking_support", "use_special_token_variables"), False),
        **dict.fromkeys(("default_system_prompt", "model_settings_fields"), None),
        **dict.fromkeys(("reasoning_effort_values", "reasoning_effort_default"), None),
    }
    effort = {"reasoning_effort_values": ("none", "high"), "reasoning_effort_default": "none"}
    thinks = {"thinking_support": True}
    for version, spm, more in (
        ("v2", True, {}),
        ("v3", True, {}),
        ("v3", False, {}),
        ("v7", True, {}),
        ("v7", False, {}),
        ("v11", False, {}),
        ("v11", False, {"plain_thinking_support": True}),
        ("v13", False, thinks),
        ("v15", False, thinks | effort),
    ):
        options = usual | more | {"spm": spm, "tokenizer_version": TokenizerVersion(version)}
        yield version, more, made.generate_chat_template(**options)


def test_what_the_templates_of_every_version_write_is_read_back():
    for version, more, template in templates():
        name = "mistral_v11" if int(version[1:]) >= 11 else "mistral"
        assert detect_dialect(template) == name
        written = [(message(ODD_CALLS), None, None)]
        if int(version[1:]) >= 7:
            written.append((message(ODD_CALLS[:1], content="Well."), None, "Well."))
        if any("thinking" in option for option in more):
            chunks = [{"type": "thinking", "thinking": "Why"}, {"type": "text", "text": "Well."}]
            written.append((message(ODD_CALLS[:2], content=chunks), "Why", "Well."))
        for said, thought, response in written:
            text = turn(template, said, "[/INST]", ("</s>",))
            reply = get_dialect(name).parse(text)
            assert reply.status is ParseStatus.OK, text
            assert repr(reply.calls) == repr(ODD_CALLS[: len(said["tool_calls"])])
            assert (reply.thought, reply.response) == (thought, response)

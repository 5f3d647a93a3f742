"""The dialects whose parameters are JSON, on what TRL's templates of their models write."""

import json

import pytest
from turns import ODD_CALLS, message, trl_template, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, get_dialect
from toolrest.core.regions import Region

CHATML = ("<|im_start|>assistant", ("<|im_end|>",))
LLAMA = ("assistant<|end_header_id|>", ("<|eot_id|>",))
FORMS = {
    "qwen2_5": ("hermes", *CHATML),
    "qwen3": ("hermes", *CHATML),
    "qwen3_instruct_2507": ("hermes", *CHATML),
    "qwen3_vl": ("hermes", *CHATML),
    "llama3_1": ("llama3", *LLAMA),
    "llama3_2": ("llama3", *LLAMA),
    "gptoss": ("gpt_oss", "<|start|>assistant", ()),
    "deepseekv3": ("deepseek_v3", "<｜Assistant｜>", ("<｜end▁of▁sentence｜>",)),
}
ONE_CALL = ("llama3_1", "llama3_2", "gptoss")
"""Templates that write one call a message."""


def written(name, calls, **more):
    """(dialect, the turn) as a template of TRL writes it."""
    dialect, header, ends = FORMS[name]
    as_text = json.dumps if name == "deepseekv3" else None
    said = message(calls, as_text, **more)
    return get_dialect(dialect), turn(trl_template(name), said, header, ends)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("call", ODD_CALLS, ids=range(len(ODD_CALLS)))
def test_a_call_that_a_template_writes_is_read_back(name, call):
    dialect, text = written(name, (call,))
    reply = dialect.parse(text)
    assert reply.status is ParseStatus.OK and reply.well_formed and reply.calls_intact
    assert repr(reply.calls) == repr((call,))
    assert (reply.response, reply.thought or None) == (None, None)


@pytest.mark.parametrize("name", [name for name in FORMS if name not in ONE_CALL])
def test_several_calls_and_text_that_a_template_writes_are_read_back(name):
    dialect, text = written(name, ODD_CALLS, content="Let me see.")
    reply = dialect.parse(text)
    assert reply.status is ParseStatus.OK
    assert repr(reply.calls) == repr(ODD_CALLS)
    assert reply.response == "Let me see."


@pytest.mark.parametrize("name", FORMS)
def test_a_call_that_a_template_writes_is_labelled(name):
    dialect, text = written(name, ODD_CALLS[:1])
    parts = [(span.region, text[span.start : span.end]) for span in dialect.parse(text).spans]
    assert [part for region, part in parts if region is Region.NAME] == ["plan_trip"]
    [parameters] = [part for region, part in parts if region is Region.PARAMETERS]
    assert json.loads(parameters) == ODD_CALLS[0].parameters


def test_qwen3_writes_a_thought_before_its_calls():
    dialect, text = written("qwen3", ODD_CALLS[:2], reasoning_content="Say </b>.", content="So.")
    reply = dialect.parse(text)
    assert (reply.thought, reply.response, reply.calls) == ("Say </b>.", "So.", ODD_CALLS[:2])
    assert reply.blocks == (Block.THOUGHT, Block.RESPONSE, Block.CALLS)


def test_gpt_oss_writes_a_thought_before_its_call():
    said = message(ODD_CALLS[:1], thinking="I plan.")
    del said["content"]
    text = turn(trl_template("gptoss"), said, "<|start|>assistant")
    reply = get_dialect("gpt_oss").parse(text)
    assert (reply.thought, reply.calls) == ("I plan.", ODD_CALLS[:1])
    assert reply.status is ParseStatus.OK


LLAMA_TEXTS = {
    '{"answer": 42}': 0,
    '{"name": "Oslo", "population": 700000}': 0,
    '{"name": ["a"], "parameters": {}}': 0,
    "{x} is a set": 0,
    '[{"name": "f", "parameters": {}}]': 0,
    '{"name": "f", "parameters": {}}': 1,
    '{"type": "function", "name": "f", "parameters": {"a": "; {"}}': 1,
    ' {"parameters": {"name": "g"}, "name": "f"}\n': 1,
}


@pytest.mark.parametrize("text", LLAMA_TEXTS)
def test_an_object_that_names_no_tool_is_text_to_the_user(text):
    reply = get_dialect("llama3").parse(text)
    assert reply.status is ParseStatus.OK
    assert len(reply.calls) == LLAMA_TEXTS[text]
    assert (reply.response is None) == bool(reply.calls)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"name": "f"}', ParseStatus.BAD_CALL),
        ('{"name": "f", "arguments": {}}', ParseStatus.BAD_CALL),
        ('{"name": "f", "parameters": [1]}', ParseStatus.BAD_CALL),
        ('{"name": "f", "parameters": {"a": ', ParseStatus.UNCLOSED),
        ('{"na', ParseStatus.UNCLOSED),
        ("{", ParseStatus.UNCLOSED),
        ('{"answer": 4', ParseStatus.UNCLOSED),
        ('<|python_tag|>brave_search.call(query="x")', ParseStatus.BAD_CALL),
    ],
)
def test_a_broken_call_is_no_text_to_the_user(text, status):
    reply = get_dialect("llama3").parse(text)
    assert (reply.status, reply.calls, reply.response) == (status, (), None)


HARMONY = {
    "<|start|>assistant": "",
    "<|end|><|start|>assistant": "",
    "<|start|>assistant<|channel|>": "<|channel|>",
    "<|start|>assistant<|channel|>final<|message|>": "<|channel|>final<|message|>",
    "<|start|>assistant<|channel|>analysis<|message|>So": "<|channel|>analysis<|message|>So",
    "<|start|>assistant to=functions.f": " to=functions.f",
    "<|start|>assistant<|channel|>analysis<|message|><|end|><|start|>assistant": (
        "<|channel|>analysis<|message|><|end|><|start|>assistant"
    ),
    "<|start|>assistant<|channel|>analysis<|message|>x<|end|><|start|>assistant": "",
    "<|start|>assistant<|channel|>final<|message|>Hi<|return|>": "",
    "<|start|>user<|message|>Hi": "",
    "<|start|>assistant<|channel|>final<|message|>Hi<|end|><|start|>user<|message|>So": "",
    "<|start|>assistantly": "",
    "": "",
}


@pytest.mark.parametrize("prompt", HARMONY)
def test_what_a_prompt_has_written_of_a_harmony_reply(prompt):
    assert get_dialect("gpt_oss").opening(prompt) == HARMONY[prompt]
    assert (
        get_dialect("gpt_oss").opening("<|start|>user<|message|>a<|end|>" + prompt)
        == (HARMONY[prompt])
    )


CALL = (ToolCall("f", {"a": 1}),)


@pytest.mark.parametrize(
    ("opening", "parts"),
    [
        ("", ("t", CALL, None)),
        ("<|channel|>", ("t", (), "Yes.")),
        ("<|channel|>analysis<|message|>", ("t", CALL, "Wait.")),
        ("<|channel|>analysis<|message|>", (None, CALL, None)),
        ("<|channel|>analysis<|message|><|end|><|start|>assistant", ("t", (), "Yes.")),
        ("<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>", ("t", CALL, None)),
        ("<|channel|>final<|message|>", (None, (), "Yes.")),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>", (None, CALL, None)),
    ],
)
def test_a_harmony_reply_goes_on_where_the_prompt_ends(opening, parts):
    dialect = get_dialect("gpt_oss")
    thought, calls, response = parts
    whole = dialect.write(thought=thought, calls=calls, response=response)
    rest = dialect.continued(whole, opening)
    reply = dialect.parse(rest, opening=opening)
    if "<|end|>" in opening or (thought is None and "analysis" in opening):
        thought = ""
    assert (reply.thought, reply.calls, reply.response) == (thought, calls, response)
    assert reply.status is ParseStatus.OK
    assert sum(span.end - span.start for span in reply.spans) == len(rest)


def test_a_harmony_reply_that_cannot_go_on_is_refused():
    from toolrest.errors import InputError

    dialect = get_dialect("gpt_oss")
    whole = dialect.write(thought=None, calls=CALL, response=None)
    with pytest.raises(InputError, match="the prompt begins the reply with"):
        dialect.continued(whole, "<|channel|>final<|message|>")


def test_a_mark_in_a_call_that_is_cut_begins_no_message():
    dialect = get_dialect("gpt_oss")
    value = "<|call|><|start|>assistant<|channel|>final<|message|>Done"
    text = dialect.render(thought=None, calls=(ToolCall("f", {"a": value}),), response=None)
    reply = dialect.parse(text[: text.index("Done") + 2])
    assert (reply.calls, reply.response, reply.status) == ((), None, ParseStatus.UNCLOSED)
    assert [span.region for span in reply.spans if span.region is Region.RESPONSE] == []

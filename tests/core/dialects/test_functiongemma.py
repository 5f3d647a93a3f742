"""FunctionGemma's calls. The values are read as Gemma 4's are: see test_gemma4."""

import pytest
from chat_turns import USUAL, assistant, turn

from toolrest.core.dialects import Block, ParseStatus, ToolCall, detect_dialect, get_dialect
from toolrest.errors import InputError

FUNCTIONGEMMA = get_dialect("functiongemma")
TEMPLATE = """
{%- macro value(v) -%}
{%- if v is string -%}<escape>{{ v }}<escape>
{%- elif v is boolean -%}{{ 'true' if v else 'false' }}
{%- elif v is mapping -%}
{ {%- for k, x in v | dictsort -%}{{ k }}:{{ value(x) }}{{ ',' if not loop.last }}{%- endfor -%} }
{%- elif v is sequence -%}
[{%- for x in v -%}{{ value(x) }}{{ ',' if not loop.last }}{%- endfor -%}]
{%- else -%}{{ v }}{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] -%}
<start_function_call>call:{{ call.function.name }}{{ value(call.function.arguments) }}
{{- '<end_function_call>' -}}
{%- endfor -%}
{{ '<start_function_response>' if message.tool_calls else '<end_of_turn>\n' }}
{%- endfor -%}
{{ '<start_of_turn>model\n' if add_generation_prompt }}"""
"""In the shape of the model's own."""


@pytest.mark.parametrize(
    "parameters",
    [
        USUAL,
        {},
        {"a": {"c": [1, {"x y": None}], "b": []}, "B": -1e-07},
        {"a": 'it\'s "{},[]:"\n<end_function_call>', "b": "5", "c": "東京 🙂"},
    ],
)
def test_a_template_s_calls_are_read_back(parameters):
    calls = (ToolCall("plan_trip", parameters), ToolCall("f", {}))
    message = assistant(calls, content="I plan it.")
    text = turn(TEMPLATE, message, "<start_function_response>")
    reply = FUNCTIONGEMMA.parse(text)
    assert (reply.status, reply.calls, reply.response) == (ParseStatus.OK, calls, "I plan it.")
    assert reply.blocks == (Block.RESPONSE, Block.CALLS)
    ours = FUNCTIONGEMMA.render(thought=None, calls=calls, response="I plan it.")
    assert ours == text.replace("None", "null")


def test_the_model_card_s_call():
    text = (
        "<start_function_call>call:get_current_temperature{location:<escape>Paris<escape>,"
        "unit:<escape>celsius<escape>}<end_function_call>"
    )
    assert FUNCTIONGEMMA.parse(text).calls == (
        ToolCall("get_current_temperature", {"location": "Paris", "unit": "celsius"}),
    )


def test_white_space_between_marks_is_read_over():
    text = "<start_function_call>\ncall:f{ a:1 }\n<end_function_call>"
    reply = FUNCTIONGEMMA.parse(text)
    assert (reply.status, reply.calls) == (ParseStatus.OK, (ToolCall("f", {"a": 1}),))


def test_a_string_without_its_end_swallows_no_call():
    text = (
        "<start_function_call>call:f{a:<escape>x}<end_function_call>"
        "<start_function_call>call:g{b:<escape>y<escape>}<end_function_call>"
    )
    reply = FUNCTIONGEMMA.parse(text)
    assert (reply.status, reply.calls) == (ParseStatus.BAD_CALL, (ToolCall("g", {"b": "y"}),))


def test_two_calls_that_the_template_writes_alike():
    lost, other = {"a": "x<escape>,b:<escape>y"}, {"a": "x", "b": "y"}
    assert turn(TEMPLATE, assistant((ToolCall("f", lost),))) == turn(
        TEMPLATE, assistant((ToolCall("f", other),))
    )
    with pytest.raises(InputError, match="functiongemma cannot express this calls"):
        FUNCTIONGEMMA.render(thought=None, calls=(ToolCall("f", lost),), response=None)


def test_it_is_seen_from_the_template():
    assert detect_dialect(TEMPLATE) == "functiongemma"
    assert FUNCTIONGEMMA.stop_tokens == ("<end_of_turn>", "<start_function_response>")

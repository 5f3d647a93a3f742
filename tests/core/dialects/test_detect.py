from pathlib import Path

import pytest
import trl
from chat_templates import GLM_4_7, MINIMAX_M2, QWEN3_CODER

from toolrest.core.dialects import detect_dialect
from toolrest.errors import InputError

TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def template(name):
    return (TEMPLATES / f"{name}.jinja").read_text()


WRITE_CALLS = {
    "qwen2_5": "hermes",
    "qwen3": "hermes",
    "qwen3_instruct_2507": "hermes",
    "qwen3_vl": "hermes",
    "qwen3_5_think": "qwen_xml",
    "qwen3_5_nothink": "qwen_xml",
    "qwen3_6": "qwen_xml",
    "qwen3_8": "qwen_xml",
    "nemotron_3_nano": "qwen_xml",
    "nemotron_3_super": "qwen_xml",
    "nemotron_3_ultra": "qwen_xml",
    "nemotron_3_5_lightning": "qwen_xml",
    "llama3_1": "llama3",
    "llama3_2": "llama3",
    "gptoss": "gpt_oss",
    "deepseekv3": "deepseek_v3",
    "deepseek_r1_distill": "deepseek_v3",
    "glm4moe": "glm",
    "muse_glimmer": "muse",
    **dict.fromkeys(("lfm2_v2", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl"), "lfm2"),
    **dict.fromkeys(("gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5"), "gemma4"),
    "diffusion_gemma": "gemma4",
}
WRITE_NONE = (
    *("cohere", "cohere2", "gemma", "gemma3", "idefics3", "lfm2", "llama3", "llava_next"),
    *("phi3", "phi3_5", "qwen2_5_vl", "smolvlm"),
)


@pytest.mark.parametrize(("name", "dialect"), WRITE_CALLS.items())
def test_the_dialect_of_a_chat_template(name, dialect):
    assert detect_dialect(template(name)) == dialect
    training = TEMPLATES / f"{name}_training.jinja"
    if training.exists():
        assert detect_dialect(training.read_text()) == dialect


@pytest.mark.parametrize("name", WRITE_NONE)
def test_a_template_that_writes_no_calls_says_so(name):
    with pytest.raises(InputError, match="writes no tool calls"):
        detect_dialect(template(name))


def test_every_template_of_trl_is_named_here():
    names = {path.stem.removesuffix("_training") for path in TEMPLATES.glob("*.jinja")}
    assert names == {*WRITE_CALLS, *WRITE_NONE}


SHAPES = {
    "mistral": ("{{ '[TOOL_CALLS]' }}",),
    "mistral_v11": (
        "[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}",
        "{{ '[TOOL_CALLS]' + name + '[CALL_ID]' + id + '[ARGS]' + arguments }}",
    ),
    "deepseek_v3_1": (
        "{{ '<｜tool▁call▁begin｜>' + name + '<｜tool▁sep｜>' + text + '<｜tool▁call▁end｜>' }}",
    ),
    "deepseek_v3_2": (
        '<｜DSML｜function_calls>{% for c in m.tool_calls %}<｜DSML｜invoke name="{{ c.name }}">',
        "{% set dsml = '｜DSML｜' %}<{{ dsml }}function_calls>{% for c in m['tool_calls'] %}",
    ),
    "deepseek_v4": ("{% set dsml = '｜DSML｜' %}<{{ dsml }}tool_calls>\n<{{ dsml }}invoke name=",),
    "deepseek_v4_1": ('<｜DSML｜ calls>{% for c in m.tool_calls %}<｜DSML｜ invoke name="x">',),
    "kimi": (
        "<|tool_calls_section_begin|>{% for c in m['tool_calls'] %}<|tool_call_begin|>{{ c['id'] }}"
        "<|tool_call_argument_begin|>",
    ),
    "functiongemma": ("{{ '<start_function_call>call:' + name }}",),
    "pythonic": ("<|start_header_id|> Respond in the format [func_name1(params_name1=..)]",),
    "qwen_xml": (QWEN3_CODER,),
    "glm": (GLM_4_7,),
    "minimax": (MINIMAX_M2,),
    "hermes": (
        # Llama with the calls of Hermes: what it writes counts, not its headers.
        '<|start_header_id|><tool_call>{"name": "x", "parameters": 1, "arguments": {}}</tool_call>',
    ),
}


@pytest.mark.parametrize(("dialect", "text"), [(d, t) for d, ts in SHAPES.items() for t in ts])
def test_templates_that_trl_does_not_ship_are_known_by_what_they_write(dialect, text):
    assert detect_dialect(text) == dialect


@pytest.mark.parametrize(
    "text",
    [
        "<|start_header_id|>{% for c in m.tool_calls %}<TOOLCALL>[{{ c | tojson }}]</TOOLCALL>",
        '<|start_header_id|>{"name": n, "parameters": p} {{ m.tool_calls[0] }} <function=f>{}',
        "<seed:tool_call><function={{ m.tool_calls[0].name }}><parameter=a>1</parameter>",
        '<tool_call>{{ m.tool_calls[0].name }}<tool_sep><arg_key>a</arg_key> "arguments"',
        "<tools>[{{ m.tool_calls }}]</tools><|channel|>",
        "<tool_calls><tool_call>f<tool_sep>\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>"
        "{{ m.tool_calls }}",
        '<function_calls>\n<invoke name="f">\n<parameter name="a">{{ m.tool_calls }}</parameter>',
    ],
)
def test_another_dialect_is_not_guessed(text):
    with pytest.raises(InputError, match="no dialect that toolrest knows"):
        detect_dialect(text)


def test_what_a_template_writes_counts_before_its_comments():
    text = "{# not [TOOL_CALLS],\n nor <function= #}<tool_call>{{ '{\"arguments\": ' }}</tool_call>"
    assert detect_dialect(text) == "hermes"


def test_no_template():
    with pytest.raises(InputError, match="no chat template"):
        detect_dialect(None)

from pathlib import Path

import pytest
import trl
from chat_templates import GLM_4_7, MINIMAX_M2, QWEN3_CODER

from toolrest.dialects import detect_dialect
from toolrest.errors import InputError

TEMPLATES = Path(trl.__file__).parent / "chat_templates"


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        ("qwen2_5", "hermes"),
        ("qwen3", "hermes"),
        ("qwen3_instruct_2507", "hermes"),
        ("qwen3_5_think", "qwen_xml"),
        ("qwen3_8", "qwen_xml"),
        ("nemotron_3_nano", "qwen_xml"),
        ("nemotron_3_5_lightning", "qwen_xml"),
        ("glm4moe", "glm"),
        ("glm4moe_training", "glm"),
        ("muse_glimmer", "muse"),
        ("llama3_1", "llama3"),
        ("llama3_2", "llama3"),
        ("gptoss", "gpt_oss"),
        ("lfm2_v2", "lfm2"),
        ("lfm2_v2_training", "lfm2"),
        ("lfm2_2_5", "lfm2"),
        ("lfm2_2_5_vl", "lfm2"),
        ("gemma4", "gemma4"),
        ("gemma4_v2", "gemma4"),
        ("gemma4_v5", "gemma4"),
        ("diffusion_gemma", "gemma4"),
        ("diffusion_gemma_training", "gemma4"),
    ],
)
def test_the_dialect_of_a_chat_template(template, dialect):
    assert detect_dialect((TEMPLATES / f"{template}.jinja").read_text()) == dialect


@pytest.mark.parametrize(
    ("template", "dialect"),
    [
        ("{{ '[TOOL_CALLS]' }}", "mistral"),
        ("{{ '<start_function_call>call:' + name }}", "functiongemma"),
        ("<|start_header_id|> Respond in the format [func_name1(params_name1=..)]", "pythonic"),
    ],
)
def test_a_dialect_is_known_by_its_mark(template, dialect):
    assert detect_dialect(template) == dialect


@pytest.mark.parametrize(
    ("template", "dialect"),
    [(QWEN3_CODER, "qwen_xml"), (GLM_4_7, "glm"), (MINIMAX_M2, "minimax")],
)
def test_a_template_in_the_shape_of_others(template, dialect):
    assert detect_dialect(template) == dialect


@pytest.mark.parametrize(
    "template",
    [
        "<seed:tool_call>\n<function=f>\n<parameter=a>1</parameter>\n</function>",
        '<function=f>{"a": 1}</function>',
        "<tool_calls><tool_call>f<tool_sep>\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>",
        '<function_calls>\n<invoke name="f">\n<parameter name="a">1</parameter>\n</invoke>',
        "<think>{{ message }}</think><tool_call>",
    ],
)
def test_marks_that_others_share_are_not_enough(template):
    with pytest.raises(InputError, match="no dialect that toolrest knows"):
        detect_dialect(template)


@pytest.mark.parametrize("template", ["phi3", "deepseekv3", "gemma", "gemma3", "lfm2"])
def test_another_dialect_is_not_guessed(template):
    with pytest.raises(InputError, match="no dialect that toolrest knows"):
        detect_dialect((TEMPLATES / f"{template}.jinja").read_text())


def test_no_template():
    with pytest.raises(InputError, match="no chat template"):
        detect_dialect(None)

"""What chat templates write and dialects read, by the templates that TRL ships."""

from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from toolrest.core.dialects import detect_dialect, get_dialect
from toolrest.errors import InputError
from toolrest.policy.folder import policy_path
from toolrest.policy.template import (
    PROBE,
    after_reply,
    end_of_turn,
    lists_tools,
    read_back,
    usual_opening,
)
from toolrest.recipe import Recipe

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))


@pytest.fixture(scope="module")
def with_template():
    """The embedded policy's tokenizer with a template of TRL's, or with a text."""
    tokenizer = AutoTokenizer.from_pretrained(policy_path(Recipe()))

    def put(name):
        path = TEMPLATES / f"{name}.jinja"
        tokenizer.chat_template = path.read_text() if path.is_file() else name
        return tokenizer

    return put


def dialect_of(tokenizer):
    return get_dialect(detect_dialect(tokenizer.chat_template))


WRITES = {
    **dict.fromkeys(("deepseekv3", "deepseekv3_training"), "deepseek_v3"),
    **dict.fromkeys(("diffusion_gemma", "diffusion_gemma_training"), "gemma4"),
    **dict.fromkeys(("gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5"), "gemma4"),
    **dict.fromkeys(("glm4moe", "glm4moe_training"), "glm"),
    **dict.fromkeys(("gptoss", "gptoss_training"), "gpt_oss"),
    **dict.fromkeys(("lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl"), "lfm2"),
    **dict.fromkeys(("lfm2_v2", "lfm2_v2_training"), "lfm2"),
    **dict.fromkeys(("llama3_1", "llama3_2"), "llama3"),
    **dict.fromkeys(("muse_glimmer", "muse_glimmer_training"), "muse"),
    **{
        f"nemotron_3_{size}{end}": "qwen_xml"
        for size in ("5_lightning", "nano", "super", "ultra")
        for end in ("", "_training")
    },
    **{
        f"{name}{end}": "hermes"
        for name in ("qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl")
        for end in ("", "_training")
    },
    **{
        f"{name}{end}": "qwen_xml"
        for name in ("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8")
        for end in ("", "_training")
    },
}
"""The dialect of every template that writes a call; docs/dialects.md prints this."""


def writes_calls(tokenizer):
    trip = read_back(tokenizer, get_dialect("rlla"))
    return trip.written is not None and PROBE.name in trip.written


@pytest.mark.parametrize("name", NAMES)
def test_the_matrix(with_template, name):
    """A template that can write a call is of a known dialect, and the call comes back equal; one
    that cannot is of none.
    """
    tokenizer = with_template(name)
    assert writes_calls(tokenizer) == (name in WRITES)
    if name.removesuffix("_training") == "deepseek_r1_distill":
        # It has calls in it, and writes them only for messages whose content is None.
        assert not lists_tools(tokenizer)
        return
    if name not in WRITES:
        with pytest.raises(InputError):
            detect_dialect(tokenizer.chat_template)
        return
    dialect = dialect_of(tokenizer)
    assert dialect.name == WRITES[name]
    assert read_back(tokenizer, dialect).problem is None


def test_the_matrix_is_printed_in_the_docs():
    page = Path(__file__).parents[2] / "docs" / "dialects.md"
    printed = page.read_text()
    for name, dialect in WRITES.items():
        if not name.endswith("_training"):
            assert f"| `{name}` | `{dialect}` |" in printed, name


@pytest.mark.parametrize(
    ("name", "opening"),
    [
        *((f"qwen3_{part}", "<think>\n") for part in ("5_think", "6", "8")),
        ("qwen3_5_nothink", "<think>\n\n</think>\n\n"),
        *((f"nemotron_3_{size}", "<think>\n") for size in ("nano", "super", "ultra")),
        ("nemotron_3_5_lightning", "<think>\n"),
        ("qwen3", ""),
        ("qwen2_5", ""),
    ],
)
def test_what_a_prompt_has_written_of_the_reply(with_template, name, opening):
    tokenizer = with_template(name)
    assert usual_opening(tokenizer, dialect_of(tokenizer)) == opening


QUESTION = {"role": "user", "content": "Oslo?"}


@pytest.mark.parametrize(
    ("name", "options", "opening"),
    [
        ("qwen3", {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
        ("qwen3_5_think", {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
        ("nemotron_3_nano", {"enable_thinking": False}, "<think></think>"),
    ],
)
def test_templates_that_are_told_not_to_think(with_template, name, options, opening):
    tokenizer = with_template(name)
    prompt = tokenizer.apply_chat_template(
        [QUESTION], tokenize=False, add_generation_prompt=True, **options
    )
    assert dialect_of(tokenizer).opening(prompt) == opening


def test_deepseek_writes_no_generation_prompt_after_a_tools_result(with_template):
    """So nothing of the reply is written, though a question's prompt begins a thought."""
    tokenizer = with_template("deepseekv3")
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "<think>"},
    ]
    dialect = dialect_of(tokenizer)
    prompts = [
        tokenizer.apply_chat_template(known, tokenize=False, add_generation_prompt=True)
        for known in (messages[:1], messages)
    ]
    assert [dialect.opening(prompt) for prompt in prompts] == ["<think>\n", ""]


def test_the_end_of_a_turn_is_the_token_that_the_template_writes(with_template):
    assert end_of_turn(with_template("qwen3")) == "<|im_end|>"
    assert end_of_turn(with_template("{% for m in messages %}{{ m.content }}{% endfor %}")) is None
    assert end_of_turn(with_template("{{ raise_exception('no') }}")) is None
    assert after_reply(with_template("qwen3")).startswith("<|im_end|>")


@pytest.mark.parametrize(
    ("template", "lists"),
    [
        ("qwen3", True),
        ("gemma3", False),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{% if tools %}You have tools.{% endif %}", False),
        ("{% if tools %}{{ tools | tojson }}{% endif %}", True),
        ("{{ raise_exception('no') }}", False),
    ],
)
def test_a_template_that_lists_tools_names_them(with_template, template, lists):
    assert lists_tools(with_template(template)) is lists


def test_two_calls_that_a_template_renders_alike_cannot_both_be_read_back(with_template):
    """A template that writes every value as a bare text has lost whether 12 was a string."""
    loses = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n"
        '{"name": "{{ c.function.name }}", "arguments": { '
        "{% for k, v in c.function.arguments.items() %}{{ ', ' if not loop.first }}"
        '"{{ k }}": "{{ v }}"{% endfor %}} }\n</tool_call>{% endfor %}{% endfor %}'
    )
    trip = read_back(with_template(loses), get_dialect("hermes"))
    assert trip.written is not None and '"days": "3"' in trip.written
    assert trip.problem is not None and "is read as ToolCall" in trip.problem


def test_a_call_whose_name_the_template_takes_from_its_id(with_template):
    """In the shape of Kimi K2's."""
    tokenizer = with_template("")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}<|im_middle|>{{ m.content }}"
        "{% if m.tool_calls %}<|tool_calls_section_begin|>{% for c in m.tool_calls %}"
        "<|tool_call_begin|>{{ c.id }}<|tool_call_argument_begin|>"
        "{{ c.function.arguments | tojson }}<|tool_call_end|>{% endfor %}"
        "<|tool_calls_section_end|>{% endif %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant<|im_middle|>{% endif %}"
    )
    assert read_back(tokenizer, dialect_of(tokenizer)).problem is None

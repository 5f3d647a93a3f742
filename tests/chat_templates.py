"""What chat templates write: those that TRL ships, and short ones in the shape of others."""

from pathlib import Path

import trl
from transformers.utils.chat_template_utils import render_jinja_template

from toolrest.core.dialects import Dialect, detect_dialect, get_dialect

FOLDER = Path(trl.__file__).parent / "chat_templates"

QWEN3_CODER = """{%- for m in messages %}{{- '<|im_start|>' + m.role }}
{%- if m.content %}{{- '\\n' + m.content }}{%- endif %}
{%- for call in m.tool_calls or [] %}
{{- '\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
{%- for key, value in call.function.arguments|items %}
{{- '<parameter=' + key + '>\\n' }}{{- value if value is string else value | string }}
{{- '\\n</parameter>\\n' }}
{%- endfor %}{{- '</function>\\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Qwen3-Coder's shape: lists and objects as Python writes them."""

GLM_4_7 = """{%- for m in messages %}{{- '<|' + m.role + '|>' }}
{%- if m.role == 'assistant' %}
{{- '<think>' + m.reasoning_content + '</think>' if m.reasoning_content else '</think>' }}
{%- endif %}{{- m.content }}
{%- for call in m.tool_calls or [] %}{{- '<tool_call>' + call.function.name }}
{%- for key, value in call.function.arguments|items %}
{{- '<arg_key>' + key + '</arg_key><arg_value>' }}
{{- value if value is string else value | tojson(ensure_ascii=False) }}{{- '</arg_value>' }}
{%- endfor %}{{- '</tool_call>' }}{%- endfor %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|assistant|>' }}
{{- '</think>' if enable_thinking is false else '<think>' }}{%- endif %}"""
"""GLM-4.7's shape: no line breaks, and a thought that is closed only."""

MINIMAX_M2 = """{%- for m in messages %}
{{- ']~b]' + ('ai' if m.role == 'assistant' else m.role) + '\\n' }}
{%- if m.reasoning_content %}
{{- '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}{{- m.content }}
{%- if m.tool_calls %}{{- '\\n<minimax:tool_call>\\n' }}
{%- for call in m.tool_calls %}{{- '<invoke name="' + call.function.name + '">\\n' }}
{%- for key, value in call.function.arguments|items %}{{- '<parameter name="' + key + '">' }}
{{- value if value is string else value | tojson(ensure_ascii=False) }}{{- '</parameter>\\n' }}
{%- endfor %}{{- '</invoke>\\n' }}{%- endfor %}{{- '</minimax:tool_call>' }}{%- endif %}
{{- '[e~[\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{- ']~b]ai\\n<think>\\n' }}{%- endif %}"""
"""MiniMax M2's shape."""


def shipped(name: str) -> str:
    """The template of that name that TRL ships."""
    return (FOLDER / f"{name}.jinja").read_text()


def render(template: str, messages: list[dict], tools: list[dict], **options) -> str:
    """The text of a dialogue."""
    texts, _ = render_jinja_template(
        [messages], chat_template=template, tools=tools, bos_token="", eos_token="", **options
    )
    return texts[0]


def turn(template: str, message: dict, tools: list[dict], **options) -> tuple[Dialect, str, str]:
    """The dialect that is seen from a template, what its prompt has written of the assistant's
    turn, and this message as the whole turn, without the token that ends it.
    """
    dialect = get_dialect(detect_dialect(template))
    user = {"role": "user", "content": "Plan."}
    prompt = render(template, [user], tools, add_generation_prompt=True, **options)
    opening = dialect.opening(prompt)
    before = prompt.removesuffix(opening)
    text = render(template, [user, {"role": "assistant"} | message], tools, **options)
    assert text.startswith(before)
    written = text[len(before) :].rstrip("\n")
    for end in dialect.stop_tokens:
        written = written.removesuffix(end)
    return dialect, opening, written


def called(*calls: tuple[str, dict]) -> list[dict]:
    """Calls as a message has them."""
    return [
        {"type": "function", "id": f"call{n}", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]

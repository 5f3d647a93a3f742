"""Assistant turns as chat templates write them."""

from pathlib import Path
from typing import Any

import trl
from transformers.utils.chat_template_utils import render_jinja_template

from toolrest.core.dialects import ToolCall

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
QUESTION = {"role": "user", "content": "I want to see a fjord."}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "plan_trip",
            "description": "Plans a trip.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where to."},
                    "code": {"type": "string", "description": "A code."},
                    "note": {"type": ["string", "null"], "description": "Anything else."},
                },
            },
        },
    }
]
USUAL = {
    "city": "Oslo",
    "days": 3,
    "sure": True,
    "open": False,
    "note": None,
    "tags": ["a", "b"],
    "code": "12",
}


def shipped(name: str) -> str:
    """A chat template that TRL ships."""
    return (TEMPLATES / f"{name}.jinja").read_text()


def assistant(calls: tuple[ToolCall, ...], **more: Any) -> dict[str, Any]:
    """An assistant's message, in OpenAI's form."""
    written = [
        {
            "id": f"call{index:05}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.parameters},
        }
        for index, call in enumerate(calls)
    ]
    return {"role": "assistant", "content": "", "tool_calls": written, **more}


def turn(template: str, message: dict[str, Any], *ends: str) -> str:
    """What a template writes for an answer to `QUESTION`, without its header and its end.

    Args:
        template: the template's text.
        message: the answer.
        ends: the tokens that may end it.
    """
    options = {"chat_template": template, "tools": TOOLS, "bos_token": "", "eos_token": ""}
    (prompt,), _ = render_jinja_template([[QUESTION]], add_generation_prompt=True, **options)
    (whole,), _ = render_jinja_template([[QUESTION, message]], **options)
    assert whole.startswith(prompt)
    text = whole.removeprefix(prompt).rstrip("\n")
    for end in ends:
        text = text.removesuffix(end)
    return text

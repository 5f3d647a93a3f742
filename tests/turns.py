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
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
ODD_CALLS = (
    ToolCall("plan_trip", {"city": "Oslo", "days": 3, "sure": True, "note": None, "code": "12"}),
    ToolCall("plan_trip", {}),
    ToolCall(
        "plan_trip", {"tags": ["a", "b"], "deep": {"x": [{"y": -1.5e-7}], "z": {}}, "big": 10**20}
    ),
    ToolCall("plan_trip", {"text": 'She said "so"; {it\'s}\n\\n\t</think> 東京 🙂 <b>&amp;'}),
    ToolCall(
        "plan_trip", {"text": "</tool_call> [TOOL_CALLS] <|call|> ```json\n{}\n``` <|eot_id|>"}
    ),
    ToolCall("plan_trip", {"null": "null", "true": "True", "list": "[1]", "": " \n"}),
)
"""Calls with values of every kind, and with marks in them."""


def trl_template(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text()


def render(template: str, messages: list[dict[str, Any]], **options: Any) -> str:
    texts, _ = render_jinja_template(
        [messages], chat_template=template, bos_token="<s>", eos_token="</s>", **options
    )
    return texts[0]


def message(
    calls: tuple[ToolCall, ...], as_text: Any = None, content: str | None = "", **more: Any
) -> dict[str, Any]:
    """An assistant's message with calls in OpenAI's form.

    Args:
        as_text: writes the parameters as text, where a template wants that.
    """
    listed = [
        {
            "id": f"call{number:05d}",
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": as_text(call.parameters) if as_text else call.parameters,
            },
        }
        for number, call in enumerate(calls)
    ]
    return {"role": "assistant", "content": content, "tool_calls": listed, **more}


def turn(template: str, said: dict[str, Any], header: str, ends: tuple[str, ...] = ()) -> str:
    """The turn that a template writes for a message, after its header and without its end."""
    whole = render(template, [QUESTION, said], tools=TOOLS)
    written = whole.rpartition(QUESTION["content"])[2].partition(header)[2].rstrip()
    for end in ends:
        written = written.removesuffix(end).rstrip()
    return written

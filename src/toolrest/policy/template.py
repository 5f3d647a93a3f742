"""What a chat template does: how it writes calls, lists tools, begins and ends a reply.

Seen by rendering, not by looking for words in it, so that templates nobody here knows are judged
by what they write.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from toolrest.core.dialects import Dialect, ParseStatus, ToolCall
from toolrest.core.dialects.base import SPACES
from toolrest.io.deadline import EndlessTemplate, apply_template
from toolrest.io.redaction import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = ToolCall(
    "plan_trip",
    {"city": "Oslo", "days": 3, "sure": True, "note": None, "tags": ["a", "b"], "code": "12"},
)
"""A call with a value of every kind that chat templates write differently."""
PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": PROBE.name,
        "description": "Plans a trip.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where to."},
                "days": {"type": "integer", "description": "How long."},
                "sure": {"type": "boolean", "description": "Whether it is decided."},
                "note": {"type": ["string", "null"], "description": "Anything else."},
                "tags": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Labels.",
                },
                "code": {"type": "string", "description": "A code."},
            },
            "required": ["city"],
        },
    },
}
_QUESTION = {"role": "user", "content": "I want to see a fjord."}
_WORD = "lighthouse"


@dataclass(frozen=True)
class RoundTrip:
    """The result of writing a call by the chat template and reading it by the dialect."""

    written: str | None
    """The assistant's turn as the template writes it; None where it refuses the call."""
    problem: str | None
    """Why it is not the same call; None where it is."""


def read_back(tokenizer: PreTrainedTokenizerBase, dialect: Dialect) -> RoundTrip:
    """Have the template write a call with a string, an integer, a boolean, a null, a list and the
    string "12", and read it in a dialect.
    """
    turn, problem, refusal = None, None, None
    for arguments in (PROBE.parameters, json.dumps(PROBE.parameters)):
        function = {"name": PROBE.name, "arguments": arguments}
        call = {"id": dialect.call_id(PROBE.name, 0), "type": "function", "function": function}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        try:
            turn = _turn(tokenizer, dialect, message)
        except EndlessTemplate:
            raise
        except Exception as raised:  # a template may raise anything
            why = first_line(raised, 200)
            refusal = refusal or f"the template refuses a message with tool_calls ({why})"
            continue
        found = _difference(turn, dialect)
        if found is None:
            return RoundTrip(turn, None)
        problem = problem or found
    return RoundTrip(turn, problem or refusal)


def lists_tools(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template writes the tools into the prompt."""
    try:
        text = _render(tokenizer, [_QUESTION], tools=True, opened=True)
    except EndlessTemplate:
        raise
    except Exception:  # a template may raise anything
        return False
    return PROBE.name in text


def usual_opening(tokenizer: PreTrainedTokenizerBase, dialect: Dialect) -> str:
    """The part of the reply that a usual prompt has written already; see `Dialect.opening`."""
    try:
        return dialect.opening(_render(tokenizer, [_QUESTION], tools=True, opened=True))
    except EndlessTemplate:
        raise
    except Exception:  # a template may raise anything; each row's own prompt is judged later
        return ""


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special token that the template writes after a reply; None if there is none."""
    if not tokenizer.chat_template:
        return None
    try:
        tail = after_reply(tokenizer)
    except EndlessTemplate:
        raise
    except Exception:  # a template may raise anything
        return None
    tokens = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return next((token for token in tokens if token and tail.startswith(token)), None)


def after_reply(tokenizer: PreTrainedTokenizerBase) -> str:
    """The text that the template writes after a reply.

    Whatever the template raises is raised.
    """
    reply = {"role": "assistant", "content": _WORD}
    text = _render(tokenizer, [_QUESTION, reply], tools=False, opened=False)
    return text[text.rindex(_WORD) + len(_WORD) :].lstrip(SPACES)


def _turn(tokenizer: PreTrainedTokenizerBase, dialect: Dialect, message: dict[str, Any]) -> str:
    """The template's text of a message, without header and end."""
    whole = _render(tokenizer, [_QUESTION, message], tools=True, opened=False)
    asked = _render(tokenizer, [_QUESTION], tools=True, opened=False)
    prompt = _render(tokenizer, [_QUESTION], tools=True, opened=True)
    begun = dialect.opening(prompt)
    header = prompt[len(asked) : len(prompt) - len(begun)] if prompt.startswith(asked) else ""
    if not whole.startswith(asked):  # some end a conversation that stops at the user otherwise
        asked = whole[: whole.rindex(_QUESTION["content"]) + len(_QUESTION["content"])]
        turn = whole[len(asked) :]
        at = turn.find(header.strip(SPACES)) if header.strip(SPACES) else -1
        turn = turn[at + len(header.strip(SPACES)) :] if at >= 0 else turn
    else:
        turn = whole[len(asked) :]
        turn = turn.removeprefix(header) if turn.startswith(header) else turn
    ends = {*dialect.stop_tokens, str(tokenizer.eos_token or "")}
    with suppress(Exception):  # a template may raise anything
        ends.add(after_reply(tokenizer).rstrip(SPACES))
    turn = turn.strip(SPACES)
    ends -= {"", *dialect.special_tokens}  # what the dialect itself reads
    for end in sorted(ends, key=len, reverse=True):
        turn = turn.removesuffix(end).rstrip(SPACES)
    return turn


def _difference(turn: str, dialect: Dialect) -> str | None:
    """How the parsed turn differs from the probe's call; None if it does not."""
    reply = dialect.parse(turn, [PROBE_TOOL])
    if reply.calls != (PROBE,) or repr(_sorted(reply.calls)) != repr(_sorted((PROBE,))):
        read = f"as {reply.calls[0]}" if reply.calls else "as no call"
        return f"the template's call is read {read}: {turn[:300]!r}"
    if reply.status is not ParseStatus.OK:
        return f"the template's call is read as {reply.status}: {turn[:300]!r}"
    return None


def _sorted(calls: tuple[ToolCall, ...]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Comparable by their types too: True is not 1; some templates sort the parameters."""
    return [(call.name, sorted(call.parameters.items())) for call in calls]


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], *, tools: bool, opened: bool
) -> str:
    return cast(
        str,
        apply_template(
            tokenizer,
            messages,
            tools=cast(Any, [PROBE_TOOL] if tools else None),
            add_generation_prompt=opened,
            tokenize=False,
        ),
    )

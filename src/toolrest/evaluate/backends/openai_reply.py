"""Converts an untrusted reply of an OpenAI-compatible interface to an answer.

Whatever comes is an answer that JSON keeps exactly, or `Unreadable` with what it was instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

from toolrest.evaluate.backends.connection import Unreadable
from toolrest.evaluate.episode import Answer

_DEEPEST = 100
"""Lists and objects in each other; deeper ones cannot be written everywhere."""
_MOST_TOKENS = 1 << 53
"""From here on a count is none, and not every reader of JSON keeps it."""


def chat_answer(value: Any) -> Answer:
    """The answer in a reply of the chat interface. Raises `Unreadable`."""
    choice = _choice(value)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Unreadable(f"its message is {_kind(message)}")
    return Answer(
        _content(message.get("content")),
        _stop(choice.get("finish_reason")),
        *_usage(value),
        calls=_calls(message.get("tool_calls")),
    )


def completion_answer(value: Any, ends: Sequence[str], opening: str) -> Answer:
    """The answer in a reply of the completions interface. Raises `Unreadable`.

    Args:
        ends: tokens that end a turn, which some servers leave in the text.
    """
    choice = _choice(value)
    text = choice.get("text")
    if not isinstance(text, str):
        raise Unreadable(f"its text is {_kind(text)}")
    text = _plain(text)
    for end in ends:
        text = text.removesuffix(end)
    return Answer(text, _stop(choice.get("finish_reason")), *_usage(value), opening=opening)


def _choice(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"it is {_kind(value)}")
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    error = value.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    if isinstance(said, str) and said:  # some servers send their refusals as 200
        raise Unreadable(f"it is an error: {said[:200]}")
    raise Unreadable(f"its choices are {_kind(choices)}")


def _content(content: Any) -> str:
    """The text of a message's content: a text, a list of parts, or null.

    Thoughts that the server has taken out stand in fields and parts of their own.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return _plain(content)
    if not isinstance(content, list):
        raise Unreadable(f"its content is {_kind(content)}")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            raise Unreadable(f"a part of its content is {_kind(part)}")
        elif part.get("type") in ("text", "output_text", None):
            text = part.get("text")
            if not isinstance(text, str):
                raise Unreadable(f"the text of a part of its content is {_kind(text)}")
            texts.append(text)
        elif part.get("type") not in ("thinking", "reasoning", "refusal"):
            raise Unreadable("a part of its content is no text")
    return _plain("".join(texts))


def _calls(calls: Any) -> list[dict[str, Any]] | None:
    """The calls that the server has parsed. A malformed one is kept and scored as such."""
    if calls is None or calls == []:
        return None
    if not isinstance(calls, list):
        raise Unreadable(f"its tool_calls are {_kind(calls)}")
    found = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise Unreadable("one of its tool_calls has no function")
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(arguments, str):
            arguments = _arguments(arguments)
        found.append({"name": _kept(name), "arguments": _kept(arguments)})
    return found


def _arguments(text: str) -> Any:
    """A call's arguments, parsed; a text that is no JSON stays a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if _keepable(value) else text


def _kept(value: Any) -> Any:
    """The value if JSON can store it exactly, else None."""
    return _plain_all(value) if _keepable(value) else None


def _keepable(value: Any) -> bool:
    """Whether it is flat enough, and its numbers are numbers."""
    layer = [value]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for each in layer:
            if isinstance(each, float) and not math.isfinite(each):
                return False
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return True
        layer = below
    return False


def _plain_all(value: Any) -> Any:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, list):
        return [_plain_all(each) for each in value]
    if isinstance(value, dict):
        return {_plain(key): _plain_all(each) for key, each in value.items()}
    return value


def _plain(text: str) -> str:
    """The text with halves of characters, which no file holds, as the sign for what is unknown."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _stop(reason: Any) -> Literal["end", "length"]:
    return "length" if reason == "length" else "end"


def _usage(value: dict[str, Any]) -> tuple[int | None, int | None]:
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int | None:
    """The value if it is a valid number of tokens, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < _MOST_TOKENS and value == int(value) else None


def _kind(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "missing"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, bool | int | float):
        return f"the number {str(value)[:40]}" if not isinstance(value, bool) else "a truth value"
    if not value:
        return "empty"
    return "a list" if isinstance(value, list) else "an object"

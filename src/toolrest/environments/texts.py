"""What an environment gives, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_RESULT = 1_000_000
"""Characters of a result that leave the process of an episode; the loop cuts by tokens after it."""


def result_text(value: Any) -> str:
    """A tool's result: a text as it is, anything else as JSON; cut in the middle where it is over
    `LONGEST_RESULT`, with a mark that says how much is left out.

    Raises:
        ValueError: it is no JSON.
    """
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"its result, a {type(value).__name__}, is no text or JSON") from error
    text = text.encode("utf-8", "replace").decode()  # halves of a surrogate pair are no text
    if len(text) <= LONGEST_RESULT:
        return text
    mark = f"\n.. {len(text) - LONGEST_RESULT:,} characters are left out ..\n"
    half = LONGEST_RESULT // 2
    return text[:half] + mark + text[-half:]


def content_text(content: Any) -> str:
    """The text of a message's content: a text, or parts of which each is text.

    Raises:
        ValueError: it has parts that are no text, such as images.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise ValueError("a message's content is no text; images are not supported")


def prompt_messages(row: Mapping[str, Any], seen: str = "") -> tuple[dict[str, Any], ...]:
    """The messages of a row's `prompt`, a text being one of the user's.

    Args:
        seen: what an environment shows first; it is added to the last message of the user's, as
            TRL does it. Where the prompt does not end with one, or is missing, it is one.

    Raises:
        ValueError: there is neither a prompt nor something to show, or it has another form.
    """
    prompt = row.get("prompt", ())
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, Sequence) or not all(
        isinstance(each, Mapping) and isinstance(each.get("role"), str) for each in prompt
    ):
        raise ValueError("the row's prompt is neither a text nor a list of messages")
    messages = [{**each, "content": content_text(each.get("content"))} for each in prompt]
    if not messages or messages[-1]["role"] != "user":
        if not seen:
            raise ValueError("the row's prompt has no message of the user's at its end")
        messages.append({"role": "user", "content": ""})
    messages[-1]["content"] += seen
    return tuple(messages)

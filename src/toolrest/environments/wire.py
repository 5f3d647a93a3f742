"""What travels between an episode's process and this one: JSON, one value a line, never pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Finish, Start, Step
from toolrest.environments.texts import content_text, result_text
from toolrest.io.foreign import is_number

LONGEST_LINE = 64_000_000
"""Bytes of an answer; an episode that sends more has failed."""


def encode(value: Any) -> bytes:
    """A line. Arrays and numbers of NumPy become lists and numbers.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    return json.dumps(value, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


def calls_to_json(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [{"name": call.name, "parameters": call.parameters} for call in calls]


def calls_from_json(value: Any) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(each["name"], each["parameters"]) for each in value)


def start_to_json(start: Any) -> dict[str, Any]:
    """
    Raises:
        TypeError, ValueError: it is no `Start`, or one that no policy can be shown.
    """
    _require(start, Start, "reset")
    messages = [dict(each) for each in start.messages]
    if not messages:
        raise ValueError("reset gave no messages")
    for each in messages:
        if not isinstance(each.get("role"), str):
            raise ValueError("reset gave a message without a role")
        each["content"] = content_text(each.get("content"))
    if messages[-1]["role"] != "user":
        raise ValueError(f"reset gave {messages[-1]['role']} as the last message, not the user's")
    return {"messages": messages, "tools": [_tool(each) for each in start.tools]}


def _tool(tool: Any) -> dict[str, Any]:
    """A tool in OpenAI's form; one that is bare is put into it."""
    if not isinstance(tool, Mapping):
        raise TypeError(f"reset gave a {type(tool).__name__} as a tool, not its JSON schema")
    inner = tool.get("function", tool)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise ValueError("reset gave a tool without a name")
    return {"type": "function", "function": dict(inner)}


def start_from_json(value: Any) -> Start:
    return Start(tuple(value["messages"]), tuple(value["tools"]))


def step_to_json(step: Any, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """
    Raises:
        TypeError, ValueError: it is no `Step`, or not one of these calls.
    """
    _require(step, Step, "call")
    if len(step.results) != len(calls):
        raise ValueError(f"call gave {len(step.results)} results of {len(calls)} calls")
    errors = step.errors
    results = []
    for call, (_, value) in zip(calls, step.results, strict=True):
        try:
            text = result_text(value)
        except ValueError as error:
            text = f"error: {call.name}: {error}"
            errors += 1
        results.append([call.name, text])
    reward = _number(step.reward, "call")
    return {"results": results, "reward": reward, "done": bool(step.done), "errors": errors}


def step_from_json(value: Any) -> Step:
    results = tuple((str(name), str(text)) for name, text in value["results"])
    return Step(results, float(value["reward"]), bool(value["done"]), int(value["errors"]))


def finish_to_json(finish: Any) -> dict[str, Any]:
    """
    Raises:
        TypeError, ValueError: it is no `Finish`.
    """
    _require(finish, Finish, "finish")
    if finish.message is not None and not isinstance(finish.message, str):
        raise TypeError(f"finish gave a {type(finish.message).__name__} as message, not a text")
    success = None if finish.success is None else bool(finish.success)
    message = None if finish.message is None else result_text(finish.message)
    reward = _number(finish.reward, "finish")
    return {"reward": reward, "message": message, "success": success}


def finish_from_json(value: Any) -> Finish:
    return Finish(float(value["reward"]), value["message"], value["success"])


def _require(value: Any, kind: type, method: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{method} gave a {type(value).__name__}, not a {kind.__name__}")


def _number(value: Any, method: str) -> float:
    """A reward; NumPy's and torch's numbers have `item`."""
    plain = value.item() if callable(getattr(value, "item", None)) else value
    if isinstance(plain, bool):
        return float(plain)
    if not is_number(plain) or not math.isfinite(plain):
        raise ValueError(f"{method} gave the reward {plain!r}, which is no finite number")
    return float(plain)

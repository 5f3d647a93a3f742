"""Converts chat messages of any kind to the turns of a dialogue.

A message is {"role", "content"} or ShareGPT's {"from", "value"}. Calls stand in `tool_calls`, in
`function_call`, in a message of their own, or inside the content; results in messages of the roles
that `_RESULTS` names, in a user's `<tool_response>` after calls inside the content. What a message
says that is not learned from (`_LEARNED`) is history alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Action, Dialogue, SystemTurn, Tool, Turn, UserTurn
from toolrest.data.formats.inline import has_calls, split_calls, split_results, split_thought
from toolrest.data.formats.json_fields import as_text, by_name, call, field, loaded, objects
from toolrest.data.formats.results import Owed, Result
from toolrest.data.padding import without_nulls
from toolrest.data.rows import BadRow
from toolrest.errors import kind_of, short

SYSTEM = ("system", "developer")
USERS = ("user", "human")
ASSISTANTS = ("assistant", "gpt", "model")
_RESULTS = ("tool", "ipython", "observation", "tool_response", "function_response")
_CALLS = ("function_call", "tool_call")
_EITHER = "function"
"""OpenAI's name for a result, and LLaMA-Factory's other one for a call."""
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thought", "tool_plan")
_LEARNED = ("weight", "loss", "loss_scale", "train", "training")
"""Whether an assistant's message is learned from, as OpenAI, ms-swift and Axolotl say it."""
_ELSEWHERE = re.compile(r"tools|functions|tool_?uses?$|calls?$", re.IGNORECASE)
"""Names of calls and tools of which a message is not read."""


def speaker(message: dict[str, Any]) -> str:
    """The speaker of a message.

    Raises:
        BadRow: it does not say.
    """
    key = "from" if message.get("role") is None and "from" in message else "role"
    return field(message, key, str, "a message's ")


def dialogue(
    messages: Sequence[dict[str, Any]], tools: tuple[Tool, ...], system: str | None = None
) -> Dialogue:
    """Convert messages to a dialogue.

    Args:
        system: instructions that the row has beside them.

    Raises:
        BadRow: a message is not what its role says.
    """
    reader = _Reader(tools, padded=not any(isinstance(_content(m), str) for m in messages))
    for message in messages:
        reader.read(message)
    turns, first = reader.finish()
    if system and first and system != first:
        raise BadRow("the row has a system text, and its messages begin with another")
    return Dialogue(tools, turns, system or first)


def _content(message: dict[str, Any]) -> Any:
    return message.get("value" if message.get("content") is None else "content")


class _Reader:
    """Reads messages one after the other."""

    def __init__(self, tools: tuple[Tool, ...], padded: bool) -> None:
        self._tools = by_name(tools)
        self._padded = padded
        """Whether contents may be structs of Arrow: texts and objects cannot share a column."""
        self._system: list[str] = []
        self._turns: list[Turn] = []
        self._owed = Owed()
        self._results: list[Result] = []
        self._inline = False
        """Whether the last action's calls stood in its content."""

    def finish(self) -> tuple[tuple[Turn, ...], str | None]:
        """(turns, instructions that came before everything else)."""
        self._observe()
        for turn in self._turns:
            if isinstance(turn, Action) and not turn.calls and turn.response is None:
                raise BadRow("an assistant's message has neither calls nor content")
        return tuple(self._turns), "\n\n".join(self._system) or None

    def read(self, message: dict[str, Any]) -> None:
        """Read the next message."""
        role = speaker(message)
        _check_keys(message)
        if role in _RESULTS or (role == _EITHER and not self._is_call(message)):
            self._add_results(message)
            return
        if role in USERS and self._inline and (found := split_results(_text(message))):
            self._results += map(Result, found)
            return
        self._observe()
        if role in SYSTEM:
            text = _text(message)
            if text and self._turns:
                self._turns.append(SystemTurn(text))
            elif text:
                self._system.append(text)
        elif role in USERS:
            self._turns.append(UserTurn(_text(message)))
        elif role in ASSISTANTS:
            self._act(message)
        elif role in (*_CALLS, _EITHER):
            self._add_calls(message)
        else:
            raise BadRow(f"a message's role is {short(role)}, not system, user, assistant or tool")

    def _observe(self) -> None:
        if self._results:
            self._turns.append(self._owed.answered(self._results))
            self._results = []

    def _add_results(self, message: dict[str, Any]) -> None:
        text = self._result(_content(message))
        identity, name = message.get("tool_call_id"), message.get("name")
        inside = split_results(text) if self._inline else None
        self._results += [
            Result(
                each,
                str(identity) if identity not in (None, "") else None,
                name if isinstance(name, str) and name else None,
            )
            for each in inside or [text]
        ]

    def _result(self, content: Any) -> str:
        """A text as it is, the texts of OpenAI's parts together, all else as its JSON text."""
        if content is None or isinstance(content, str):
            return content or ""
        parts = content if isinstance(content, list) else []
        if parts and all(
            isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
            for part in parts
        ):
            return "".join(part["text"] for part in parts)
        return as_text(without_nulls(content) if self._padded else content)

    def _act(self, message: dict[str, Any]) -> None:
        inside, text = split_thought(_text(message))
        thought = _one([*_thoughts(message), inside])
        calls, ids = self._listed_calls(message)
        action = Action(calls, text.strip() or None, thought, _is_learned(message))
        if action.response is not None and calls and has_calls(action.response):
            raise BadRow("an assistant's message has its calls in tool_calls and in its content")
        found = None
        if action.response is not None and not calls:
            found = split_calls(action.response, self._tools)
        if found is not None:
            thought = _one([thought, found.thought])
            action = replace(found, thought=thought, learned=action.learned)
            ids = [None] * len(found.calls)
        self._inline = found is not None
        self._turns.append(action)
        self._owed = Owed(action.calls, ids)

    def _listed_calls(
        self, message: dict[str, Any]
    ) -> tuple[tuple[ToolCall, ...], list[str | None]]:
        listed = message.get("tool_calls") or []
        if message.get("function_call"):
            if listed:
                raise BadRow("an assistant's message has both tool_calls and function_call")
            listed = [message["function_call"]]
        calls, ids = [], []
        for each in objects(listed, "tool_calls"):
            inner = loaded(each.get("function"), "a call's function")
            calls.append(self._call(inner if isinstance(inner, dict) else each))
            ids.append(None if each.get("id") in (None, "") else str(each["id"]))
        return tuple(calls), ids

    def _call(self, value: dict[str, Any]) -> ToolCall:
        other = value.get("arguments") is None and value.get("parameters") is not None
        return call(value, "parameters" if other else "arguments", self._tools)

    def _is_call(self, message: dict[str, Any]) -> bool:
        """Whether a message of the role `function` is a call: none is owed, and it reads as one."""
        if len(self._owed) > len(self._results):
            return False
        try:
            values = _call_values(_content(message))
        except BadRow:
            return False
        return bool(values) and all(
            isinstance(each.get("name"), str) and ("arguments" in each or "parameters" in each)
            for each in values
        )

    def _add_calls(self, message: dict[str, Any]) -> None:
        """A message of calls alone; what the assistant says right before it is the same action."""
        content = _content(message)
        thought = None
        if isinstance(content, str):
            thought, content = split_thought(content)
        if isinstance(content, str) and has_calls(content):
            found = split_calls(content, self._tools)
            calls = found.calls if found is not None else ()
        else:
            calls = tuple(map(self._call, _call_values(content)))
        if not calls:
            raise BadRow("a message of calls holds none")
        ids: list[str | None] = [None] * len(calls)
        learned = _is_learned(message)
        last = self._turns[-1] if self._turns else None
        if isinstance(last, Action):
            self._turns[-1] = replace(
                last,
                calls=(*last.calls, *calls),
                thought=_one([last.thought, thought]),
                learned=last.learned and learned,
            )
            self._owed.add(calls, ids)
        else:
            self._turns.append(Action(calls, None, thought, learned))
            self._owed = Owed(calls, ids)
        self._inline = False


def _check_keys(message: dict[str, Any]) -> None:
    """That a message has no calls or tools under a name which is not read."""
    for key, value in message.items():
        if value and key not in ("tool_calls", "function_call") and _ELSEWHERE.search(str(key)):
            raise BadRow(
                f"a message's {short(key)} would be ignored; calls are read from tool_calls, and "
                "tools from the row's tools"
            )


def _is_learned(message: dict[str, Any]) -> bool:
    """Whether an assistant's message is learned from.

    Raises:
        BadRow: it counts for something between nothing and all, which would be ignored.
    """
    said = {key: message[key] for key in _LEARNED if message.get(key) is not None}
    for key, value in said.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise BadRow(f"a message's {key} is {short(value)}; a message counts (1) or not (0)")
    return all(said.values())


def _call_values(content: Any) -> list[dict[str, Any]]:
    """The objects of a message of calls: one, or a list of them."""
    value = loaded(content, "a message of calls")
    return objects(value if isinstance(value, list) else [value], "a message of calls")


def _text(message: dict[str, Any]) -> str:
    """A message's content: a text, or the texts of its parts."""
    content = _content(message)
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRow("a message's content has a part that is no text")
    return "".join(str(text) for text in texts)


def _thoughts(message: dict[str, Any]) -> list[str]:
    found = []
    for key in _THOUGHTS:
        value = message.get(key)
        if value is not None and not isinstance(value, str):
            raise BadRow(f"a message's {key} is {kind_of(value)}, not a text")
        if value and value.strip():
            found.append(value)
    return found


def _one(thoughts: list[str | None]) -> str | None:
    """The thought of an action, which may be said in several places alike."""
    found = [thought for thought in thoughts if thought]
    if len({thought.strip() for thought in found}) > 1:
        raise BadRow("an assistant's message has two thoughts")
    return found[0] if found else None

"""Episodes of a benchmark: requests, answers and outcomes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from toolrest.core.dialects import Block, Dialect, ParseStatus, Reply, ToolCall
from toolrest.data.dialogue import Tool
from toolrest.data.wording import Prompt, openai_tool


@dataclass(frozen=True)
class Request:
    """One prompt for the policy."""

    key: str
    """Item, step in it, and hash of what is sent."""
    prompt: Prompt
    """The prompt."""
    sent: Any = None
    """The value of the backend's `sent` for the prompt; None: not computed yet."""


@dataclass(frozen=True)
class Answer:
    """A policy's answer."""

    text: str
    """Its text, without the end of the turn unless that is a mark of the dialect."""
    stop: str
    """`end`; `length`: it was cut off; `too_long`: the prompt did not fit, nothing was asked;
    `unreadable`: the endpoint's reply was none of its interface."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, where known."""
    tokens: int | None = None
    """Tokens that were sampled, where known."""
    calls: list[dict[str, Any]] | None = None
    """Calls that a server has read already, {"name", "arguments"}; None: they are in the text."""
    opening: str = ""
    """What the prompt had written of the reply already, where known; see `Dialect.opening`."""
    why: str = ""
    """Of one that is unreadable: what it was instead."""

    @property
    def missing(self) -> str:
        """Why there is no reply, which counts as wrong; empty if there is one."""
        return self.stop if self.stop in ("too_long", "unreadable") else ""


class Backend(Protocol):
    """Gets answers of a policy."""

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[str, Answer]]:
        """(key, answer) of every request, in any order, each as soon as it is there. After a
        KeyboardInterrupt thrown in, what is under way may still come, then the interrupt.
        """
        ...

    def sent(self, prompt: Prompt) -> Any:
        """The plain values sent for a prompt: ids, or messages, tools and options."""
        ...

    def show(self, prompt: Prompt) -> str:
        """The prompt's text as the policy gets it, as far as it is known here."""
        ...

    @property
    def window(self) -> int:
        """How many requests to pass at once."""
        ...


@dataclass(frozen=True)
class Outcome:
    """An item's score and its details."""

    identity: str
    """The item."""
    category: str
    """Its category."""
    correct: bool
    """Whether it passed."""
    check: str
    """Which check failed; empty where none did."""
    expected: Any
    """What was expected, as far as a failure needs it."""
    got: Any
    """What the policy did."""
    statuses: tuple[str, ...]
    """How each of its replies was read."""
    tokens: tuple[int, ...]
    """Sampled tokens of each reply, where known."""
    scores: dict[str, float] = field(default_factory=dict)
    """Further scores by name, such as API-Bank's strict one."""


class Episode(Protocol):
    """One item of a benchmark, with one or more requests."""

    @property
    def identity(self) -> str:
        """Names the item; unique in the benchmark."""
        ...

    @property
    def category(self) -> str:
        """Its category in the benchmark."""
        ...

    def request(self) -> Prompt | None:
        """The next prompt; None when the item is done."""
        ...

    def receive(self, answer: Answer) -> None:
        """Receive the answer to the last request."""
        ...

    def outcome(self) -> Outcome:
        """The score of an item that is done."""
        ...


def read(answer: Answer, dialect: Dialect, tools: Sequence[Tool] = ()) -> Reply:
    """Parse an answer to a reply. Any answer has one.

    Args:
        tools: those that could be called, whose types some dialects read values by.
    """
    if answer.missing:
        return dialect.parse("")
    if answer.calls is None:
        known = [openai_tool(tool) for tool in tools] if dialect.reads_types else None
        return dialect.parse(answer.text, known, opening=answer.opening)
    calls = []
    for call in answer.calls:
        name, values = call.get("name"), call.get("arguments")
        if not isinstance(name, str) or not isinstance(values, dict):
            return dialect.parse("")
        calls.append(ToolCall(name, values))
    return Reply(
        thought=None,
        calls=tuple(calls),
        response=answer.text or None,
        status=ParseStatus.OK,
        position=None,
        well_formed=True,
        calls_intact=True,
        blocks=(Block.CALLS,),
        spans=(),
    )


def status_of(answer: Answer, reply: Reply) -> str:
    """The reply's parse status, or why there is no reply."""
    return answer.missing or str(reply.status)

"""A dialogue with tools, independent of dialect and prompt style."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from toolrest.core.dialects import ToolCall


@dataclass(frozen=True)
class Tool:
    """A tool that the policy may call."""

    name: str
    """Its name."""
    description: str
    """What it does."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """JSON schema of its parameters: {"type": "object", "properties": .., "required": ..}."""


@dataclass(frozen=True)
class UserTurn:
    """What the user said."""

    text: str
    """Its text."""


@dataclass(frozen=True)
class SystemTurn:
    """Instructions in the middle of a dialogue."""

    text: str
    """Their text."""


@dataclass(frozen=True)
class Action:
    """One turn of the assistant: tool calls, a response, or both."""

    calls: tuple[ToolCall, ...] = ()
    """Its calls, in order."""
    response: str | None = None
    """What it told the user."""
    thought: str | None = None
    """Its reasoning."""
    learned: bool = True
    """Whether it is right; what the data leaves out of training is history alone."""


@dataclass(frozen=True)
class Observation:
    """The results of the last action's calls."""

    results: tuple[tuple[str, str], ...]
    """(tool's name, text) of each call, in the order of the calls."""
    calls: tuple[int, ...] | None = None
    """Which call of the action each result answers, from 0; None: they answer one by one."""


Turn = UserTurn | SystemTurn | Action | Observation


@dataclass(frozen=True)
class Dialogue:
    """All that a policy knows before its next action."""

    tools: tuple[Tool, ...]
    """The tools that it may call."""
    turns: tuple[Turn, ...]
    """What happened so far; the last one is no action."""
    system: str | None = None
    """Instructions that came before everything else."""
    begins: tuple[dict[str, Any], ...] = ()
    """Chat messages before the turns, which stay as they are: an environment's. They list the tools
    and have what the user said, so there are neither tools nor a system text beside them."""

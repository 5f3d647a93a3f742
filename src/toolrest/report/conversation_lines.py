"""An episode on a terminal: turns by region with weights, what was read in grey."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from toolrest.report.conversation import Called, Conversation, ShownTurn
from toolrest.report.shading import legend, token_lines, visible

_READ = "bright_black"
"""The style of what the policy read and did not write."""
_MOST_PROMPT = 2000
"""Characters of a prompt that are shown."""


def print_conversation(found: Conversation, console: Console) -> None:
    """Print an episode: what it began with, each turn with its calls and their results, what the
    user said, and how it ended.
    """
    console.print(legend())
    measured = any(token.entropy is not None for token in found.tokens)
    told = "token / weight" + (" / entropy, nats" if measured else "")
    console.print(f"{told}; what the policy read is grey", style="dim")
    if found.prompt is not None:
        cut = " .." if len(found.prompt) > _MOST_PROMPT else ""
        for line in found.prompt[:_MOST_PROMPT].split("\n"):
            _print(console, visible(line), _READ)
        if cut:
            _print(console, cut, _READ)
    for number, turn in enumerate(found.turns, 1):
        failed = f", {turn.errors} of its calls failed" if turn.errors else ""
        console.print()
        _print(console, f"turn {number} of {len(found.turns)}, reward {turn.reward:.2f}{failed}")
        _print_turn(turn, console, measured)
    console.print()
    if found.advantage is not None:
        _print(console, f"advantage    {found.advantage:.2f}")
    _print(console, f"episode      {visible(found.outcome)}")


def _print_turn(turn: ShownTurn, console: Console, measured: bool) -> None:
    if turn.tokens:
        for line in token_lines(turn.tokens, console.width, measured):
            console.print(line)
    else:
        _print(console, visible(turn.text))
    for each in turn.called:
        _print(console, f"call         {visible(told_call(each))}")
        result = "none: the episode had ended" if each.result is None else visible(each.result)
        _print(console, f"  result     {result}", _READ)
    if turn.said is not None:
        _print(console, f"user         {visible(turn.said)}", _READ)


def told_call(called: Called) -> str:
    """A call as a line."""
    return f"{called.name} {json.dumps(called.parameters, ensure_ascii=False, default=str)}"


def _print(console: Console, text: str, style: Any = None) -> None:
    """A line as it is: nothing in it is read as markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

"""An episode of a run as the page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolrest.report.conversation import Conversation, ShownTurn, read_conversation
from toolrest.report.conversation_lines import told_call
from toolrest.report.page_of_runs.reading import finite, shortened
from toolrest.report.shading import visible
from toolrest.runs.headline import is_done


def shown_episode(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a recorded episode beside its tokens: `exact` where the task was done, and
    the turns with the number of their tokens. Nothing where it is broken: what it said is shown
    as a response.
    """
    found = conversation_or_none(row)
    if found is None:
        return {}
    return {
        "exact": is_done(found.success, found.reward),
        "status": visible(found.ending),
        "episode": {
            "outcome": visible(found.outcome),
            "errors": sum(turn.errors for turn in found.turns),
            "failed": found.reward is None,
            "turns": [_turn(turn) for turn in found.turns],
        },
    }


def conversation_or_none(row: Mapping[str, Any]) -> Conversation | None:
    """The conversation of a record; None where it is broken."""
    try:
        return read_conversation(row)
    except (ValueError, KeyError, TypeError):
        return None


def _turn(turn: ShownTurn) -> dict[str, Any]:
    return {
        "text": shortened(turn.text),
        "tokens": len(turn.tokens),
        "calls": [
            [visible(told_call(each)), None if each.result is None else shortened(each.result)]
            for each in turn.called
        ],
        "errors": turn.errors,
        "reward": finite(turn.reward),
        "said": None if turn.said is None else shortened(turn.said),
    }


def episode_text(found: Conversation) -> str:
    """An episode as one text: what the policy wrote, and below it what came of its calls."""
    return "\n\n".join("\n".join(_lines(turn)) for turn in found.turns)


def _lines(turn: ShownTurn) -> Iterator[str]:
    yield turn.text
    for each in turn.called:
        yield f"  {each.name}: {'no result' if each.result is None else each.result}"
    if turn.said is not None:
        yield f"  user: {turn.said}"

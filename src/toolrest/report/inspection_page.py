"""An inspection as a page."""

from __future__ import annotations

from typing import Any

from toolrest.core.regions import Region
from toolrest.report.conversation import Conversation
from toolrest.report.conversation_lines import told_call
from toolrest.report.inspection import Inspection, Token
from toolrest.report.page import render

LETTERS = {
    "format": "F",
    "name": "N",
    "parameters": "P",
    "reasoning": "R",
    "response": "S",
    "other": "O",
}
"""What marks a region's tokens where there is no colour."""


def inspection_page(found: Inspection) -> str:
    """The whole page: where it is from, prompt and ground truth, tokens by region with weights,
    shares, calls and reward.
    """
    return render("inspection", _title(found), found=found, reply=found.reply, **_of(found.tokens))


def conversation_page(found: Conversation) -> str:
    """The whole page of an episode: turns by region with weights, calls beside their results, what
    the user said, rewards, and how it ended.
    """
    return render(
        "conversation", _title(found), found=found, told_call=told_call, **_of(found.tokens)
    )


def _title(found: Inspection | Conversation) -> str:
    """The page's title, with the run and the step where they are known."""
    facts = dict(found.facts)
    said = [f"{name} {facts[name]}" for name in ("run", "step", "row") if name in facts]
    return ", ".join(["toolrest inspect", *said])


def _of(tokens: list[Token]) -> dict[str, Any]:
    """What templates show of tokens: the heaviest weight, their sum, and those of each region."""
    weights = [token.weight for token in tokens]
    regions = {
        region.name.lower(): [token.weight for token in tokens if token.region == region]
        for region in Region
    }
    return {
        "heaviest": max(weights, default=1.0) or 1.0,
        "total": sum(weights) or 1.0,
        "regions": regions,
        "letters": LETTERS,
        "marked": [name for name, weights in regions.items() if weights],
    }

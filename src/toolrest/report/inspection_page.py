"""An inspection as a page."""

from __future__ import annotations

from toolrest.core.regions import Region
from toolrest.report.conversation import Conversation
from toolrest.report.conversation_lines import told_call
from toolrest.report.inspection import Inspection, Token
from toolrest.report.page import render


def inspection_page(found: Inspection) -> str:
    """The whole page: tokens by region with weights, shares, calls and reward."""
    weights = [token.weight for token in found.tokens]
    return render(
        "inspection",
        "toolrest inspect",
        tokens=found.tokens,
        heaviest=max(weights, default=1.0) or 1.0,
        total=sum(weights) or 1.0,
        regions=_by_region(found.tokens),
        reply=found.reply,
        status=found.status,
        reward=found.reward,
        trained=found.trained,
    )


def conversation_page(found: Conversation) -> str:
    """The whole page of an episode: turns by region with weights, calls beside their results, what
    the user said, rewards, and how it ended.
    """
    weights = [token.weight for token in found.tokens]
    return render(
        "conversation",
        "toolrest inspect",
        found=found,
        told_call=told_call,
        heaviest=max(weights, default=1.0) or 1.0,
        total=sum(weights) or 1.0,
        regions=_by_region(found.tokens),
    )


def _by_region(tokens: list[Token]) -> dict[str, list[float]]:
    """The weights of each region's tokens."""
    return {
        region.name.lower(): [token.weight for token in tokens if token.region == region]
        for region in Region
    }

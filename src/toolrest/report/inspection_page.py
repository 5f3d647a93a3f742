"""An inspection as a page."""

from __future__ import annotations

from toolrest.core.regions import Region
from toolrest.report.inspection import Inspection
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
        regions={
            region.name.lower(): [t.weight for t in found.tokens if t.region == region]
            for region in Region
        },
        reply=found.reply,
        status=found.status,
        reward=found.reward,
        trained=found.trained,
    )

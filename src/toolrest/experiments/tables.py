"""Writes the table of a comparison in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from toolrest.experiments.plan import Plan
from toolrest.experiments.results import Row
from toolrest.experiments.statistics import Estimate
from toolrest.runs.headline import measure

COLUMNS = (
    "method",
    "seeds",
    "exact match, %",
    "greedy, %",
    "reward",
    "difference",
    "p (Holm)",
    "mean of the curve, %",
    "difference",
    "p",
    "steps, seed by seed",
    "steps, mean curves",
    "tokens",
    "s a run",
)


def columns(plan: Plan) -> list[str]:
    """The headings: COLUMNS, with what is measured in a comparison of runs in an environment."""
    acts = plan.recipe.environment.source is not None
    return [name.replace(measure(acts=False), measure(acts=acts)) for name in COLUMNS]


def cells(row: Row) -> list[str]:
    """A row's cells, one for each of COLUMNS."""
    p = "" if row.p is None else f"{row.p:.3f} ({row.p_holm:.3f})"
    by_seed = "" if row.seed_steps is None else _ratio(row.seed_steps.ratio)
    by_curve = "" if row.steps is None else _ratio(row.steps.first)
    return [
        row.method,
        str(row.seeds),
        _percent(row.exact_match),
        _percent(row.greedy_exact_match),
        _number(row.reward),
        _percent(row.difference, signed=True),
        p,
        _percent(row.area),
        _percent(row.area_difference, signed=True),
        "" if row.area_p is None else f"{row.area_p:.3f}",
        by_seed,
        by_curve,
        "" if row.tokens is None else f"{row.tokens:.2f}",
        f"{row.seconds:.0f}",
    ]


def _percent(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return ""
    sign = "+" if signed else ""
    text = f"{100 * estimate.value:{sign}.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({100 * estimate.low:{sign}.1f} to {100 * estimate.high:{sign}.1f})"


def _number(estimate: Estimate) -> str:
    if estimate.low is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _ratio(estimate: Estimate) -> str:
    parts = [
        "never" if value is not None and math.isinf(value) else f"{value:.2f}"
        for value in (estimate.value, estimate.low, estimate.high)
        if value is not None
    ]
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({parts[1]} to {parts[2]})"


def markdown(rows: Sequence[Row], plan: Plan, differing: Sequence[str] = ()) -> str:
    """The table, its legend, and the runs' differences other than methods and seeds."""
    lines = [
        "| " + " | ".join(columns(plan)) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    legend = (
        f"Held-out tasks, n = {plan.recipe.evaluation.samples} a run, sampled unless it says "
        f"greedy; mean over seeds with a 95 % t interval. Differences to {plan.baseline} over the "
        "seeds of both, with p by flipping signs (in brackets for the number of methods). Mean of "
        "the curve: of the evaluations on the way. Steps to the baseline's final mean, method over "
        "baseline: seed by seed, the mean of both sides cut off at the last step; mean curves, "
        "where each side's mean curve is there first; 95 % bootstrap intervals over seeds. Tokens: "
        "up to there by the mean curve, over all that the baseline took."
    )
    also = "".join(f"- {line}\n" for line in differing)
    told = f"\nThe runs also differ in this:\n\n{also}" if differing else ""
    return "\n".join(lines) + f"\n\n{legend}\n{told}"

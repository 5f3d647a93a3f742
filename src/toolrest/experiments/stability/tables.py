"""The table of what methods withstand, in Markdown and as rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from toolrest.experiments.grid import Grid, written_rate
from toolrest.experiments.plan import Plan
from toolrest.experiments.stability.results import Against, Standing
from toolrest.experiments.statistics import Estimate

_WORDS = {
    "exact_match": "exact match fell",
    "format": "format",
    "reasoning_entropy": "reasoning entropy",
}


def columns(grid: Grid) -> list[str]:
    """The headings of `row`."""
    return [
        "method",
        "seeds",
        *(f"collapsed at {written_rate(rate)}" for rate in grid.rates),
        "lr50",
        "doublings withstood",
        "difference",
        "p (Holm)",
        "best rate",
        "exact match there, %",
        "difference",
        "p (Holm)",
    ]


def row(standing: Standing, grid: Grid) -> list[str]:
    """A method's cells, one for each of `columns`."""
    shares = []
    for rate in grid.rates:
        found = standing.at(rate)
        shares.append(f"{sum(cell.collapsed for cell in found)}/{len(found)}" if found else "")
    rate = "" if standing.best_rate is None else written_rate(standing.best_rate)
    return [
        standing.method,
        str(len(standing.seeds)),
        *shares,
        "" if standing.lr50 is None else said_rate(standing.lr50, grid),
        *_against(standing.doublings, 1.0, "{:.2f}"),
        rate,
        *_against(standing.best, 100.0, "{:.1f}"),
    ]


def _against(found: Against | None, times: float, form: str) -> list[str]:
    """(the figure, its difference, p) as texts."""
    if found is None:
        return ["", "", ""]
    signed = form.replace("{:", "{:+")
    p = "" if found.p is None else f"{found.p:.3f} ({found.p_holm:.3f})"
    apart = "" if found.apart is None else _written(found.apart, times, signed)
    return [_written(found.value, times, form), apart, p]


def _written(estimate: Estimate, times: float, form: str) -> str:
    text = form.format(times * estimate.value)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({form.format(times * estimate.low)} to {form.format(times * estimate.high)})"


def said_rate(estimate: Estimate, grid: Grid) -> str:
    """lr50 with its interval; what lies outside the rates that were tried is said to."""
    lowest, greatest = written_rate(grid.rates[0]), written_rate(grid.rates[-1])

    def said(rate: float) -> str:
        if rate == 0:
            return f"under {lowest}"
        return f"over {greatest}" if math.isinf(rate) else written_rate(float(f"{rate:.2g}"))

    if estimate.low is None or estimate.high is None:
        return said(estimate.value)
    return f"{said(estimate.value)} ({said(estimate.low)} to {said(estimate.high)})"


def markdown(
    standings: Sequence[Standing], plan: Plan, grid: Grid, differing: Sequence[str] = ()
) -> str:
    """The table, its legend, by which sign runs collapsed, and what else the runs differ in."""
    headings = columns(grid)
    lines = [
        "| " + " | ".join(headings) + " |",
        "|" + "---|" * len(headings),
        *("| " + " | ".join(row(standing, grid)) + " |" for standing in standings),
    ]
    rule, noise = plan.recipe.collapse, plan.recipe.reward.label_noise
    noisy = f" {100 * noise:g}% of the training rewards are those of the opposite." if noise else ""
    legend = (
        f"Collapsed: runs whose held-out exact match ({plan.recipe.evaluation.samples} samples, "
        f"every {plan.recipe.evaluation.every} steps) fell {100 * rule.exact_match:g} points under "
        f"its own peak, whose format was right in under {100 * rule.format:g}% of responses, or "
        f"whose reasoning entropy was over {rule.reasoning_entropy:g} times the start's; such a "
        "run ends there. lr50: the learning rate at which half of the runs collapse, by isotonic "
        "regression over the rate's logarithm, with a 95 % bootstrap interval over seeds. "
        "Doublings withstood: of the lowest rate, the area under the share of runs that last, "
        "over log2 of the rate. "
        "Best rate: the one that most seeds have where it is chosen by the other seeds; "
        "exact match there is each seed's own, sampled, at the end of its run. Mean and 95 % t "
        f"interval over the seeds that have all rates. Differences to {plan.baseline} seed by "
        f"seed, with p by flipping signs (in brackets for the number of methods).{noisy}"
    )
    also = "".join(f"- {line}\n" for line in differing)
    told = f"\nThe runs also differ in this:\n\n{also}" if differing else ""
    return "\n".join(lines) + f"\n\n{legend}\n\n{_signs(standings)}{told}"


def _signs(standings: Sequence[Standing]) -> str:
    """By what sign the runs of each method collapsed, a line a method."""
    lines = ["| method | collapsed by |", "|---|---|"]
    for standing in standings:
        found = Counter(cell.sign for cell in standing.cells.values() if cell.sign is not None)
        said = ", ".join(f"{_WORDS[sign]} {count}" for sign, count in found.most_common())
        lines.append(f"| {standing.method} | {said or 'none'} |")
    return "\n".join(lines) + "\n"

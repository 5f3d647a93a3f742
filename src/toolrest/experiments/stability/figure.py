"""The figure of a grid: collapses by learning rate, exact match by learning rate, and lr50."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolrest.evaluate.intervals import wilson
from toolrest.experiments.figures import COLOURS
from toolrest.experiments.grid import Grid, written_rate
from toolrest.experiments.stability.results import Standing
from toolrest.experiments.statistics import SHARE, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX*<>hp"
_ASIDE = 0.05
"""By how much, in doublings, methods stand beside each other at a rate."""


def draw_frontier(standings: Sequence[Standing], grid: Grid, folder: Path) -> Path:
    """Write frontier.png, and an SVG beside it.

    Returns:
        The PNG.
    """
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    collapses, scores, halves = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1.0))
    for index, standing in enumerate(standings):
        style = (COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)])
        aside = 2 ** (_ASIDE * (index - (len(standings) - 1) / 2))
        _collapses(collapses, standing, grid, style, aside)
        _scores(scores, standing, grid, style, aside)
        _half(halves, standing, grid, style, index)
    collapses.set_ylabel("share of runs that collapse", fontsize=9)
    collapses.set_ylim(-0.03, 1.03)
    collapses.set_title("collapses, 95 % Wilson", fontsize=9)
    scores.set_ylabel("exact match at the end, held out, %", fontsize=9)
    scores.set_title("score, mean and 95 % over seeds", fontsize=9)
    halves.set_title("half of the runs collapse at", fontsize=9)
    halves.set_yticks(range(len(standings)), [each.method for each in standings])
    halves.set_ylim(len(standings) - 0.4, -0.6)
    for axis in (collapses, scores, halves):
        _rate_axis(axis, grid)
    handles, labels = collapses.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    path = folder / "frontier.png"
    figure.savefig(path, dpi=160)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    return path


def _rate_axis(axis: Axes, grid: Grid) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(grid.rates, [written_rate(rate) for rate in grid.rates])
    axis.set_xlim(grid.rates[0] / 1.3, grid.rates[-1] * 1.3)
    axis.minorticks_off()
    axis.set_xlabel("learning rate", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _collapses(
    axis: Axes, standing: Standing, grid: Grid, style: tuple[str, str], aside: float
) -> None:
    rates, shares, lows, highs = [], [], [], []
    for rate in grid.rates:
        cells = standing.at(rate)
        if cells:
            count = sum(cell.collapsed for cell in cells)
            low, high = wilson(count, len(cells))
            share = count / len(cells)
            rates.append(rate * aside)
            shares.append(share)
            lows.append(max(0.0, share - low))
            highs.append(max(0.0, high - share))
    _with_bars(axis, rates, shares, (lows, highs), style, standing.method)


def _scores(
    axis: Axes, standing: Standing, grid: Grid, style: tuple[str, str], aside: float
) -> None:
    rates, means, lows, highs = [], [], [], []
    for rate in grid.rates:
        values = [100 * cell.score for cell in standing.at(rate)]
        if values:
            found = mean_interval(values, (0.0, 100 * SHARE[1]))
            rates.append(rate * aside)
            means.append(found.value)
            lows.append(0.0 if found.low is None else found.value - found.low)
            highs.append(0.0 if found.high is None else found.high - found.value)
    _with_bars(axis, rates, means, (lows, highs), style, standing.method)


def _with_bars(
    axis: Axes,
    x: list[float],
    y: list[float],
    bars: tuple[list[float], list[float]],
    style: tuple[str, str],
    label: str,
) -> None:
    colour, marker = style
    axis.errorbar(
        *(x, y),
        yerr=bars,
        label=label,
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.3,
        elinewidth=0.7,
        capsize=1.5,
    )


def _half(axis: Axes, standing: Standing, grid: Grid, style: tuple[str, str], row: int) -> None:
    """lr50 and its interval; an arrow where it lies outside the rates that were tried."""
    found = standing.lr50
    if found is None:
        return
    colour, marker = style
    edges = (grid.rates[0] / 1.25, grid.rates[-1] * 1.25)

    def drawn(rate: float) -> float:
        return edges[0] if rate == 0 else edges[1] if math.isinf(rate) else rate

    if found.low is not None and found.high is not None:
        axis.plot([drawn(found.low), drawn(found.high)], [row, row], color=colour, linewidth=1.3)
        for end, arrow in ((found.low, "<"), (found.high, ">")):
            if end == 0 or math.isinf(end):
                axis.plot([drawn(end)], [row], color=colour, marker=arrow, markersize=5)
    outside = found.value == 0 or math.isinf(found.value)
    shape = ("<" if found.value == 0 else ">") if outside else marker
    axis.plot([drawn(found.value)], [row], color=colour, marker=shape, markersize=7)

"""Curves of a run as lists of steps and values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolrest.evaluate.intervals import wilson
from toolrest.report.page_of_runs.reading import finite, is_number
from toolrest.runs.headline import figures_of, scored

MOST_POINTS = 400
"""Steps of a curve."""
Series = dict[str, list[list[float | None]]]
"""{metric: [steps, values]}; None for a value that is not finite."""


def series_of(rows: Iterable[dict[str, Any]]) -> Series:
    """The metrics of rows with a step, thinned evenly to `MOST_POINTS`."""
    listed = [row for row in rows if isinstance(row.get("step"), int)]
    if len(listed) > MOST_POINTS:
        places = {round(i * (len(listed) - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)}
        listed = [row for place, row in enumerate(listed) if place in places]
    names = {name for row in listed for name, value in row.items() if is_number(value)}
    return {
        name: [
            [row["step"] for row in listed if name in row],
            [finite(row[name]) for row in listed if name in row],
        ]
        for name in sorted(names - {"step"})
    }


def held_out_series(
    curve: list[dict[str, Any]], sides: dict[str, dict[str, Any]], steps: int
) -> Series:
    """Held-out figures over the steps; each share also has `<name>/low` and `<name>/high`, the
    ends of Wilson's 95 % interval.

    Args:
        curve: evaluations on the way; without any, `sides` are its two points.
        sides: the figures `before` and `after` training.
        steps: optimiser steps of the run.
    """
    points = curve or [
        {**sides[when], "step": step}
        for when, step in (("before", 0), ("after", steps))
        if sides.get(when)
    ]
    return series_of(point | _ends(point) for point in points)


def _ends(point: dict[str, Any]) -> dict[str, float]:
    ends: dict[str, float] = {}
    if not isinstance(point.get("n"), int) or point["n"] < 1:
        return ends
    tasks = scored(point)
    for each in figures_of(point):
        value = finite(point.get(each.key))
        if each.share and value is not None and 0 <= value <= 1:
            low, high = wilson(round(value * tasks), tasks)
            ends |= {f"{each.key}/low": low, f"{each.key}/high": high}
    return ends

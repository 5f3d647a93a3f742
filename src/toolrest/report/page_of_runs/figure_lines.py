"""The lines of a figure: a run each, or the mean and the range of runs that differ in the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from toolrest.evaluate.intervals import wilson
from toolrest.report.page_of_runs.collect import collect
from toolrest.report.page_of_runs.reading import finite, is_number, iterate_rows
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import scored

MOST_POINTS = 80
"""Points of a line; more steps than these are drawn as means of consecutive ones."""
_ENDING = re.compile(r"[-_. ]+(seed|s)?[-_=. ]*\d*$", re.IGNORECASE)
"""What the names of seeds end with."""

Series = list[list[Any]]
"""[steps, values]; None where a value is not finite."""


@dataclass(frozen=True)
class Line:
    """Runs that are drawn as one line."""

    label: str
    """Its name, whole."""
    runs: tuple[dict[str, Any], ...]
    """What was collected of each."""

    @property
    def unit(self) -> str:
        """What its runs are: seeds, or runs where a seed is there twice."""
        seeds = {run["seed"] for run in self.runs}
        return "seeds" if len(seeds) == len(self.runs) else "runs"


@dataclass(frozen=True)
class Course:
    """What a line shows of one metric."""

    steps: np.ndarray
    """[N]"""
    middle: np.ndarray
    """The value, or the mean over runs, [N]; NaN where one is not finite."""
    low: np.ndarray | None = None
    """The band's lower end, [N]; None: it has no band."""
    high: np.ndarray | None = None
    """Its upper end, [N]."""
    runs: int = 1
    """How many it is the mean of."""
    window: int = 1
    """Steps that a point is the mean of."""


def collect_whole(folder: Path) -> dict[str, Any]:
    """What the page shows of a run, with every step of its series.

    Raises:
        InputError: the folder is no run.
    """
    found, run = collect(folder, 0.0), RunFolder(folder)
    series, warm, curve = map(_series, (run.metrics, run.warm_metrics, run.curve))
    alone = found["recipe"].get("method", "rl") != "rl"
    learnt = (
        {"series": {}, "supervised": series} if alone else {"series": series, "supervised": warm}
    )
    return found | learnt | {"curve": curve}


def _series(path: Path) -> dict[str, Series]:
    """{metric: [steps, values]} of a file of steps; a step that is there twice counts once."""
    rows = list(iterate_rows(path, [], "")) if path.is_file() else []
    by_step = {row["step"]: row for row in rows if isinstance(row.get("step"), int)}
    names = {name for row in by_step.values() for name, value in row.items() if is_number(value)}
    return {
        name: [
            [step for step, row in by_step.items() if name in row],
            [finite(row[name]) for row in by_step.values() if name in row],
        ]
        for name in names - {"step"}
    }


def lines_of(found: Sequence[dict[str, Any]]) -> list[Line]:
    """The lines of runs, in their order; those whose recipes differ in name and seed alone are one.

    A run whose recipe cannot be read is a line of its own.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for number, run in enumerate(found):
        recipe = {key: value for key, value in run["recipe"].items() if key not in ("name", "seed")}
        key = json.dumps(recipe, sort_keys=True, default=str) if recipe else str(number)
        groups.setdefault(key, []).append(run)
    labels = [_label(runs) for runs in groups.values()]
    return [
        Line(label if labels.count(label) == 1 else f"{label} ({runs[0]['name']})", tuple(runs))
        for label, runs in zip(labels, groups.values(), strict=True)
    ]


def _label(runs: Sequence[dict[str, Any]]) -> str:
    names = [visible(run["name"]) for run in runs]
    if len(names) == 1:
        return names[0]
    first, last = min(names), max(names)  # what these begin with, all do
    shared = [
        a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    ]
    return _ENDING.sub("", "".join(shared)) or str(runs[0]["scheme"])


def course(line: Line, where: str, key: str) -> Course | None:
    """A metric of a line at the steps that all its runs have; None where none has it.

    Args:
        where: the part of what was collected, such as `series`.
    """
    return _mean([known for run in line.runs if (known := _known(run[where].get(key)))])


def share_course(line: Line, key: str) -> Course | None:
    """A share of held-out tasks over a run; of a single run with Wilson's 95 % interval."""
    found = course(line, "curve", key)
    alone, *others = line.runs
    if found is None or others:
        return found
    counts, failed = (_by_step(alone["curve"].get(name)) for name in ("n", "failed"))
    ends = []
    for step, value in zip(found.steps.tolist(), found.middle.tolist(), strict=True):
        n = counts.get(step)
        if not n or not 0 <= value <= 1:
            return found
        tasks = scored({"n": n, "failed": int(failed.get(step) or 0)})
        ends.append(wilson(round(value * tasks), tasks))
    low, high = np.array(ends).T
    return Course(found.steps, found.middle, low, high)


def _by_step(series: Series | None) -> dict[Any, Any]:
    """{step: value}; empty where there is none."""
    if series is None:
        return {}
    steps, values = series
    return dict(zip(steps, values, strict=True))


def _known(series: Series | None) -> Series | None:
    """The series, if it has a finite value."""
    return series if series and any(value is not None for value in series[-1]) else None


def _mean(series: Sequence[Series]) -> Course | None:
    if not series:
        return None
    by_step = [_by_step(each) for each in series]
    steps = sorted(set.intersection(*(set(each) for each in by_step)))
    if not steps:
        return None
    values = np.array(
        [[np.nan if each[step] is None else each[step] for step in steps] for each in by_step]
    )
    window = -(-len(steps) // MOST_POINTS)
    at, values = blocks(np.array(steps, float), window), blocks(values, window)
    if len(values) == 1:
        return Course(at, values[0], window=window)
    return Course(at, values.mean(0), values.min(0), values.max(0), runs=len(values), window=window)


def blocks(values: np.ndarray, window: int) -> np.ndarray:
    """Means over `window` consecutive values of the last axis, [.., ceil(N / window)].

    The last block has what is left; a NaN in a block makes its mean NaN.
    """
    starts = np.arange(0, values.shape[-1], window)
    sizes = np.minimum(window, values.shape[-1] - starts)
    return np.add.reduceat(values, starts, axis=-1) / sizes


@dataclass(frozen=True)
class Point:
    """A held-out figure of a line before or after training."""

    value: float
    """The mean over its runs."""
    low: float
    """The lower end of Wilson's 95 % interval of a run, or of the range of several."""
    high: float
    """The upper end."""
    each: tuple[float, ...]
    """Of each run."""


def point(line: Line, label: str, when: str) -> Point | None:
    """A share of held-out tasks of a line; None where no run has it.

    Args:
        label: of the figure, as in the table of a run.
        when: `before` or `after`.
    """
    found = [
        row[when]
        for run in line.runs
        for row in run["table"]
        if row["label"] == label and row["percent"] and when in row
    ]
    if not found:
        return None
    values = tuple(each["value"] for each in found)
    if len(found) == 1:
        return Point(values[0], found[0]["low"], found[0]["high"], values)
    return Point(sum(values) / len(values), min(values), max(values), values)

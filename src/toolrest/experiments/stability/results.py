"""The finished runs of a grid: which collapsed, and how good each policy was at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from toolrest.errors import InputError
from toolrest.experiments.grid import Grid, with_rate
from toolrest.experiments.methods import Method, apply_method
from toolrest.experiments.plan import CompareFolder, Plan
from toolrest.experiments.results import plain_json
from toolrest.experiments.stability.frontier import at_best_rate, doublings, half_rate
from toolrest.experiments.statistics import (
    ANYTHING,
    SHARE,
    SHARES_APART,
    Estimate,
    holm,
    mean_interval,
    sign_flip_test,
)
from toolrest.io.files import read_json
from toolrest.io.foreign import require_numbers
from toolrest.runs.best import curve_of
from toolrest.runs.collapse import collapse_of


@dataclass(frozen=True)
class Cell:
    """One finished run."""

    collapsed: bool
    """Whether it collapsed, by the comparison's recipe."""
    sign: str | None
    """The key of `collapse` that told; None: it did not collapse."""
    steps: int
    """Optimiser steps done; those of a collapsed run are to the evaluation that showed it, or all
    where it shows at the end."""
    score: float
    """Held-out exact match at its end, sampled."""
    seconds: float
    """Its time."""


@dataclass(frozen=True)
class Against:
    """A figure of a method, and the same against the baseline's, seed by seed."""

    value: Estimate
    """The mean over the method's seeds."""
    apart: Estimate | None = None
    """The mean difference over the seeds of both; None for the baseline."""
    p: float | None = None
    """Of the difference, by flipping signs."""
    p_holm: float | None = None
    """The same, corrected for the number of methods."""


@dataclass(frozen=True)
class Standing:
    """What a method withstands. The figures are of the seeds that have a finished run at every
    rate; None where there is no such seed.
    """

    method: str
    cells: dict[tuple[float, int], Cell]
    """Its finished runs by learning rate and seed."""
    seeds: tuple[int, ...]
    """The seeds that have all rates."""
    lr50: Estimate | None
    """The learning rate at which half of the runs collapse; see `half_rate`."""
    doublings: Against | None
    """Doublings of the lowest rate that it withstands; see `doublings`."""
    best_rate: float | None
    """The rate that is chosen for most seeds; see `at_best_rate`."""
    best: Against | None
    """Exact match at each seed's rate, which the other seeds chose."""

    def at(self, rate: float) -> list[Cell]:
        """The finished runs at a rate."""
        return [cell for (own, _), cell in self.cells.items() if own == rate]


@dataclass(frozen=True)
class _Whole:
    """The runs of the seeds that have all rates."""

    seeds: tuple[int, ...]
    collapsed: np.ndarray
    """Bool, [S, R]."""
    scores: np.ndarray
    """[S, R]."""


def load_standings(folder: CompareFolder, plan: Plan, grid: Grid) -> list[Standing]:
    """What each method of a grid withstands, against the plan's baseline.

    Raises:
        InputError: a finished run cannot be read, or no run is finished.
    """
    cells = {method.name: _cells(folder, plan, grid, method) for method in grid.methods}
    if not any(cells.values()):
        raise InputError(f"{folder.path}: no run is finished")
    whole = {name: _whole(found, grid.rates) for name, found in cells.items()}
    lasted = _compared(
        {name: (own.seeds, doublings(grid.rates, own.collapsed)) for name, own in whole.items()},
        plan.baseline,
    )
    chosen = {name: at_best_rate(own.scores) for name, own in whole.items() if own.seeds}
    best = _compared(
        {name: (whole[name].seeds, scores) for name, (scores, _) in chosen.items()},
        plan.baseline,
        within=(SHARE, SHARES_APART),
    )
    return [
        Standing(
            method=name,
            cells=cells[name],
            seeds=own.seeds,
            lr50=half_rate(grid.rates, own.collapsed) if own.seeds else None,
            doublings=lasted.get(name),
            best_rate=_most_chosen(chosen[name][1], grid.rates) if own.seeds else None,
            best=best.get(name),
        )
        for name, own in whole.items()
    ]


def _cells(
    folder: CompareFolder, plan: Plan, grid: Grid, method: Method
) -> dict[tuple[float, int], Cell]:
    found = {}
    for rate in grid.rates:
        made = with_rate(method, rate)
        for seed in plan.seeds:
            if folder.run(made.name, seed).summary.is_file():
                found[rate, seed] = _read(folder, plan, made, seed)
    return found


def _read(folder: CompareFolder, plan: Plan, method: Method, seed: int) -> Cell:
    run, recipe = folder.run(method.name, seed), apply_method(plan.recipe, method)
    try:
        summary = read_json(run.summary)
        if not isinstance(summary, dict):
            raise ValueError("its summary is no object")
        require_numbers(summary, "steps", "seconds")
        points = curve_of(run, "exact_match")
        collapse = collapse_of(run, recipe)
        steps = int(summary["steps"])
        if not points or points[-1][0] != steps:
            raise ValueError(f"it has {steps} steps and no evaluation after them")
        if steps < recipe.max_steps and (collapse is None or collapse.step != steps):
            raise ValueError(f"it ended after {steps} of {recipe.max_steps} steps, uncollapsed")
    except (OSError, ValueError, InputError) as error:
        raise InputError(
            f"{run.path}: a finished run that cannot be read ({error}); remove {run.path} and "
            "start the comparison again"
        ) from error
    return Cell(
        collapsed=collapse is not None,
        sign=None if collapse is None else collapse.sign,
        steps=steps if collapse is None else collapse.step,
        score=points[-1][1],
        seconds=float(summary["seconds"]),
    )


def _whole(cells: dict[tuple[float, int], Cell], rates: Sequence[float]) -> _Whole:
    seeds = sorted({seed for _, seed in cells})
    kept = tuple(seed for seed in seeds if all((rate, seed) in cells for rate in rates))

    def of(field: str) -> np.ndarray:
        rows = [[getattr(cells[rate, seed], field) for rate in rates] for seed in kept]
        return np.array(rows).reshape(len(kept), len(rates))

    return _Whole(kept, of("collapsed").astype(bool), of("score").astype(float))


def _most_chosen(chosen: Sequence[int], rates: Sequence[float]) -> float:
    return rates[Counter(sorted(chosen)).most_common(1)[0][0]]


def _compared(
    values: dict[str, tuple[tuple[int, ...], np.ndarray]],
    baseline: str,
    within: tuple[tuple[float, float], tuple[float, float]] = (ANYTHING, ANYTHING),
) -> dict[str, Against]:
    """A figure of each method against the baseline's.

    Args:
        values: by method, its seeds and their values, [S]; methods without seeds are left out.
        within: what the figure and a difference of two lie in.
    """
    base = dict(zip(*values[baseline], strict=True)) if baseline in values else {}
    found: dict[str, Against] = {}
    for name, (seeds, own) in values.items():
        if not seeds:
            continue
        value = mean_interval(own, within[0])
        shared = [index for index, seed in enumerate(seeds) if seed in base]
        if name == baseline or not shared:
            found[name] = Against(value)
            continue
        deltas = [float(own[index]) - float(base[seeds[index]]) for index in shared]
        found[name] = Against(value, mean_interval(deltas, within[1]), sign_flip_test(deltas))
    tested = [name for name, each in found.items() if each.p is not None]
    corrected = holm([p for name in tested if (p := found[name].p) is not None])
    for name, p in zip(tested, corrected, strict=True):
        found[name] = replace(found[name], p_holm=p)
    return found


def to_json(standings: Sequence[Standing], plan: Plan, grid: Grid) -> dict[str, Any]:
    """All figures, with those of every run, as plain values; infinity becomes null."""
    return plain_json(
        {
            "baseline": plan.baseline,
            "seeds": list(plan.seeds),
            "rates": list(grid.rates),
            "methods": {method.name: list(method.overrides) for method in grid.methods},
            "collapse": plan.recipe.collapse.model_dump(mode="json"),
            "table": [
                {key: value for key, value in asdict(each).items() if key != "cells"}
                for each in standings
            ],
            "runs": [
                {"method": each.method, "rate": rate, "seed": seed, **asdict(cell)}
                for each in standings
                for (rate, seed), cell in sorted(each.cells.items())
            ],
        }
    )

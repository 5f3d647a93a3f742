"""The best policy of a run, by its evaluations on the way, and whether they still get better."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from toolrest.errors import InputError
from toolrest.io.files import whole_lines, write_json
from toolrest.io.foreign import parse_json
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder

Point = tuple[int, float]
"""An evaluation: (optimiser steps done, what it found)."""


def curve_of(run: RunFolder, metric: str) -> list[Point]:
    """The evaluations on the way, by their steps; none of a run that has not kept any.

    Args:
        metric: the number of each that is wanted, such as `exact_match`.

    Raises:
        InputError: a line is broken, or lacks that number.
    """
    if not run.curve.is_file():
        return []
    points: dict[int, float] = {}
    for line in whole_lines(run.curve):
        try:
            point = parse_json(line)
            points[int(point["step"])] = float(point[metric])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(f"{run.curve}: a broken line ({error}); take it out") from error
    return sorted(points.items())


def best_point(points: Sequence[Point], steps: Collection[int]) -> Point | None:
    """The greatest evaluation after one of these steps, of equal ones the last; None: there is
    none.
    """
    found = [point for point in points if point[0] in steps]
    return max(found, key=lambda point: (point[1], point[0]), default=None)


def evaluations_since_best(points: Sequence[Point]) -> int:
    """How many evaluations, by their steps, came after the first of the greatest."""
    values = [value for _, value in points]
    return len(values) - 1 - values.index(max(values)) if values else 0


def has_ended(points: Sequence[Point], patience: int | None) -> bool:
    """Whether the last `patience` evaluations were no better than the best before them."""
    return patience is not None and evaluations_since_best(points) >= patience


def best_step(run: RunFolder, recipe: Recipe, also: int | None = None) -> int | None:
    """The step of a run's best checkpoint among those that are whole; None: none of them was
    evaluated on the way, or the recipe does not ask for it.

    Args:
        also: a step whose checkpoint may be written yet.
    """
    best = _best(run, recipe, () if also is None else (also,))
    return None if best is None else best[0]


def best_of(run: RunFolder, recipe: Recipe, steps: Collection[int]) -> int:
    """The step of the best of a run's checkpoints, whether or not the recipe asks to keep it.

    Args:
        steps: those of the checkpoints.

    Raises:
        InputError: none of them was evaluated on the way.
    """
    best = best_point(curve_of(run, recipe.best_by), steps)
    if best is None:
        raise InputError(
            f"{run.path}: no checkpoint was evaluated on the way, so which is best is not known; "
            "use --checkpoint last, or train with evaluation.every equal to save_steps"
        )
    return best[0]


def keep_best(run: RunFolder, recipe: Recipe) -> dict[str, Any] | None:
    """Write which of a run's checkpoints is its best into best.json; see `best_step`.

    Returns:
        What best.json has; None: there is none.
    """
    best = _best(run, recipe)
    if best is None:
        return None
    step, value = best
    folder = run.whole_checkpoints()[step].relative_to(run.path).as_posix()
    found = {"step": step, "checkpoint": folder, "metric": recipe.best_by, "value": value}
    write_json(run.best, found)
    return found


def _best(run: RunFolder, recipe: Recipe, also: Collection[int] = ()) -> Point | None:
    if not recipe.evaluation.save_best:
        return None
    return best_point(curve_of(run, recipe.best_by), {*run.whole_checkpoints(), *also})

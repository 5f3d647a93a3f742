"""Why a run's training ends before its last step."""

from __future__ import annotations

from toolrest.recipe import Recipe
from toolrest.runs.best import curve_of, evaluations_since_best, has_ended
from toolrest.runs.collapse import collapse_of
from toolrest.runs.folder import RunFolder

_COLLAPSE = "(collapse.end=true)"


def ended_early(run: RunFolder, recipe: Recipe, step: int) -> str | None:
    """Why a run's training ends after a step before its last, in words; None: it does not.

    Args:
        step: the optimiser steps done.
    """
    if not 0 < step < recipe.max_steps:
        return None
    ends = f"training ends after step {step} of {recipe.max_steps}"
    if recipe.collapse.end:
        found = collapse_of(run, recipe, step)
        if found is not None and found.step == step:
            return f"{ends}: the policy has collapsed, {found.text} {_COLLAPSE}"
    patience = recipe.evaluation.patience
    if patience is None:
        return None
    points = [point for point in curve_of(run, recipe.best_by) if point[0] <= step]
    if not points or points[-1][0] != step or not has_ended(points, patience):
        return None
    best, value = points[-1 - evaluations_since_best(points)]
    return (
        f"{ends} (evaluation.patience={patience}): {recipe.best_by} was best after step {best}, "
        f"{value:.4g}, and now it is {points[-1][1]:.4g}"
    )


def to_go_on(ended: str) -> str:
    """What a user says to train a run on, by what `ended_early` has said of it."""
    if ended.endswith(_COLLAPSE):
        return "collapse.end=false"
    return "evaluation.patience=null, or a larger one"

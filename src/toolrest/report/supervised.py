"""Loss, tokens and learning rate of a run's supervised steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolrest.errors import InputError, counted
from toolrest.io.files import whole_lines
from toolrest.recipe import load_recipe
from toolrest.report.live import describe_step, sparkline
from toolrest.runs.folder import RunFolder


def supervised_metrics(run: RunFolder) -> Path | None:
    """The file of a run's supervised steps: its own, or its warm start's; None where it has none,
    as runs of earlier versions.
    """
    if run.warm_metrics.is_file():
        return run.warm_metrics
    return run.metrics if is_supervised(run) and run.metrics.is_file() else None


def is_supervised(run: RunFolder) -> bool:
    """Whether the run learns from demonstrations alone."""
    try:
        return load_recipe(run.recipe, []).method != "rl"
    except InputError:
        return False


def describe_supervised(run: RunFolder) -> list[str]:
    """The first, the middle and the last supervised step and the course of the loss, a line each;
    none where the run has no such steps.
    """
    path = supervised_metrics(run)
    rows = [_row(line) for line in whole_lines(path)] if path is not None else []
    known = [row for row in rows if row is not None]
    if not known:
        return []
    places = sorted({0, len(known) // 2, len(known) - 1})
    losses = [float(row["loss"]) for row in known]
    stride = max(1, -(-len(losses) // 24))
    return [
        f"supervised   {counted(len(known), 'step')}, {path}",
        f"loss         {sparkline(losses[::stride])} {losses[0]:.4f} to {losses[-1]:.4f}",
        *(f"step {known[place]['step']:<8}{describe_step(known[place])}" for place in places),
    ]


def _row(line: str) -> dict[str, Any] | None:
    """A step's numbers; None for a line that is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    kept = {k: v for k, v in found.items() if isinstance(v, int | float)}
    return kept if {"step", "loss"} <= kept.keys() else None

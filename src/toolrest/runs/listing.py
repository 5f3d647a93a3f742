"""The runs of a folder, and how far each of them is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.errors import InputError
from toolrest.io.files import TakenError, only_one, whole_lines
from toolrest.io.foreign import is_number, parse_json
from toolrest.io.objects import object_or_none
from toolrest.io.plain_yaml import plain_values
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import measure


@dataclass(frozen=True)
class Listed:
    """A run in the list."""

    name: str
    """Of its folder."""
    state: str
    """done, running, stopped, or broken where its recipe cannot be read."""
    scheme: str
    """Of the weights, or the supervised method."""
    policy: str
    """Of its recipe: a name, or the last part of a path."""
    steps: int
    """Optimiser steps done, by its metrics."""
    of: int | None
    """Optimiser steps of its recipe."""
    before: float | None
    """Held-out exact match, or share of tasks done, before, in [0, 1]; greedy where that was
    measured."""
    after: float | None
    """After, or the newest one on the way."""
    greedy: bool
    """Whether these are of greedy decoding."""
    measure: str
    """What these are: exact match, or of a run in an environment tasks done."""
    age: float
    """Seconds since something was written into the folder."""


def list_runs(folder: Path) -> list[Listed]:
    """The runs in a folder, the newest first.

    Raises:
        InputError: it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; runs are listed of a folder")
    found = [_listed(RunFolder(each.parent)) for each in folder.glob("*/recipe.yaml")]
    return sorted(found, key=lambda run: (run.age, run.name))


def _listed(run: RunFolder) -> Listed:
    recipe, usual = _recipe(run), Recipe()
    method = recipe.get("method", usual.method)
    weighting = _section(recipe, "weighting")
    warm = _section(recipe, "warm_start")
    supervised = method in ("sft", "tsft", "rsft")
    if supervised:
        of = warm.get("steps", usual.warm_start.steps)
    else:
        of = recipe.get("max_steps", usual.max_steps)
    before, after = _evaluations(run)
    greedy = all("greedy_exact_match" in each for each in (before, after) if each)
    key = "greedy_exact_match" if greedy else "exact_match"
    return Listed(
        name=run.path.name,
        state=_state(run, broken=not recipe),
        scheme=str(method if supervised else weighting.get("scheme", usual.weighting.scheme)),
        policy=Path(str(recipe.get("policy", usual.policy))).name,
        steps=_steps(run),
        of=of if isinstance(of, int) else None,
        before=_number(before, key),
        after=_number(after, key),
        greedy=greedy and bool(before or after),
        measure=measure(acts=_section(recipe, "environment").get("source") is not None),
        age=max(0.0, time.time() - _newest(run)),
    )


def _recipe(run: RunFolder) -> dict[str, Any]:
    """Its recipe's plain values; empty where they cannot be read."""
    try:
        values = plain_values(run.recipe.read_text(encoding="utf-8"), str(run.recipe))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _state(run: RunFolder, *, broken: bool) -> str:
    if broken:
        return "broken"
    for lock in (run.lock, run.worker_lock):
        if lock.is_file():
            try:
                with only_one(lock, "held"):
                    pass
            except TakenError:
                return "running"
            except InputError:
                continue
    return "done" if run.summary.is_file() else "stopped"


def _steps(run: RunFolder) -> int:
    """The step of the last line of its metrics."""
    try:
        lines = whole_lines(run.metrics)
        step = parse_json(lines[-1])["step"] if lines else 0
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return 0
    return step if isinstance(step, int) else 0


def _evaluations(run: RunFolder) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(before, after) as they were evaluated; on the way the newest of its curve."""
    before, after = (
        object_or_none(run.evaluation / f"{when}.json") or {} for when in ("before", "after")
    )
    if not after and run.curve.is_file():
        try:
            lines = whole_lines(run.curve)
            last = parse_json(lines[-1]) if len(lines) > 1 else {}
        except (OSError, ValueError):
            last = {}
        after = last if isinstance(last, dict) else {}
    return before, after


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if is_number(value) else None


def _newest(run: RunFolder) -> float:
    files = (run.recipe, run.metrics, run.summary, run.curve, run.evaluation)
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)

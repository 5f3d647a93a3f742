"""Which rollouts a step of a run trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrest.errors import InputError
from toolrest.io.files import whole_lines
from toolrest.io.foreign import parse_json
from toolrest.runs.folder import RunFolder, rollouts_file


def rollouts_of(run: RunFolder, step: int | None, each: int) -> tuple[Path, str | None]:
    """The file of the rollouts that a step trained on, without a step the newest; and what is to be
    said where they are those of an earlier step.

    Args:
        step: from 1.
        each: optimiser steps of a generation.

    Raises:
        InputError: there are none.
    """
    if step is None:
        return _files(run)[-1], None
    first = _first_step(run, step, each)
    note = f"step {step} trained on the rollouts of step {first}, which are shown"
    return rollouts_file(run.rollouts, first), None if first == step else note


def _first_step(run: RunFolder, step: int, each: int) -> int:
    """The first step that trained on the same rollouts as a step."""
    files = _files(run)
    done: list[int] = []
    if each > 1 and run.metrics.is_file():
        done = [step for step, _ in logged_steps(run)]
    within = each if step <= max(done, default=step) else 1
    for first in range(step, max(0, step - within), -1):
        if rollouts_file(run.rollouts, first) in files:
            return first
    shift = 1 if rollouts_file(run.rollouts, 1).stem == "step-000000" else 0
    known = [str(int(n) + shift) for f in files if (n := f.stem[5:]).isdecimal()]
    raise InputError(
        f"{run.path}: it has no rollouts of step {step}; it has those of steps "
        f"{', '.join(known[:3])}{f' .. {known[-1]}' if len(known) > 3 else ''}"
    )


def _files(run: RunFolder) -> list[Path]:
    files = sorted(run.rollouts.glob("step-*.jsonl"))
    if not files:
        raise InputError(f"{run.path}: it has no rollouts")
    return files


def logged_steps(run: RunFolder) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each step of a run's metrics; 0 and nothing for lines that are broken."""
    for line in whole_lines(run.metrics):
        found = _object(line)
        yield _step(found), found


def _object(line: str) -> dict[str, Any]:
    """The object of a line; an empty one where it is none."""
    try:
        found = parse_json(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _step(record: dict[str, Any]) -> int:
    step = record.get("step", 0)
    return step if isinstance(step, int) and step >= 0 else 0

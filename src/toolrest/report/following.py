"""A run that another process trains, followed by the files in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolrest.errors import InputError, counted
from toolrest.io.files import is_locked
from toolrest.io.foreign import is_number, parse_object
from toolrest.io.objects import object_or_none
from toolrest.io.tail import Tail
from toolrest.recipe import Recipe, load_recipe
from toolrest.report.live import LiveView
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import figures_of

_TRAINING, _WARM = "training", "warm start"
_WAITING = "no step yet: rows are read, the policy is loaded, or evaluated before training"
_MOST_OLD = 10
"""Warnings and evaluations that were there before, and are shown all the same."""


def is_held(run: RunFolder) -> bool:
    """Whether a process works in a run's folder. Nobody is kept out by the look."""
    return is_locked(run.lock) or is_locked(run.worker_lock)


class _Log:
    """A file of objects, each of which is read once, also where the file is written anew because
    the run goes on from an earlier step.
    """

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._seen: set[str] = set()

    def read(self) -> list[dict[str, Any]]:
        """The objects that are new."""
        lines = self._tail.read()
        new = [line for line in lines if not (self._tail.restarted and line in self._seen)]
        self._seen = {*lines} if self._tail.restarted else self._seen | {*lines}
        return _objects(new)


class Following:
    """Shows what is new in a run's folder, each time that it is asked to look.

    Args:
        run: whose files are read, and nothing is written.
        view: where it is shown.
    """

    def __init__(self, run: RunFolder, view: LiveView) -> None:
        self._run = run
        self._view = view
        self._warm, self._steps = Tail(run.warm_metrics), Tail(run.metrics)
        self._warnings, self._curve = _Log(run.warnings), _Log(run.curve)
        self._recipe, self._read_at = Recipe(), 0
        self._stage: str | None = None
        self._evaluated: set[int] = set()
        self._results: set[str] = set()
        self.step = 0
        """The last optimiser step that is known."""
        self.steps = 0
        """Those of its recipe."""

    def look(self) -> None:
        """Show what was written since the last look."""
        self._look_at_recipe()
        if self._stage is None and not (self._run.metrics.is_file() or self._warms()):
            self._begin(_WAITING, None)
        if self._recipe.method == "rl":
            self._show(_WARM, self._warm, self._recipe.warm_start.steps)
        self._show(_TRAINING, self._steps, self.steps)
        self._tell([_warned(row) for row in self._warnings.read()], self._view.warn)
        curve = [row for row in self._curve.read() if isinstance(row.get("step"), int)]
        self._evaluated |= {row["step"] for row in curve}
        self._tell([_result(f"after step {row['step']}", row) for row in curve], self._view.note)
        for when, step in (("before", 0), ("after", self.step)):
            self._show_result(when, step)

    def _look_at_recipe(self) -> None:
        """Read the recipe where it was written anew: a run settles its steps as it begins."""
        try:
            written = self._run.recipe.stat().st_mtime_ns
        except OSError:
            return
        if written == self._read_at:
            return
        self._read_at = written
        self._recipe = load_recipe(self._run.recipe, [])
        alone = self._recipe.method != "rl"
        self.steps = self._recipe.warm_start.steps if alone else self._recipe.max_steps

    def _warms(self) -> bool:
        return self._recipe.method == "rl" and self._run.warm_metrics.is_file()

    def _begin(self, stage: str, total: int | None) -> None:
        self._stage = stage
        self._view.stage(stage, total)

    def _show(self, stage: str, tail: Tail, total: int) -> None:
        """Show a file's new steps: those that were there before at once, later ones one by one."""
        rows = _steps(tail.read())
        if tail.restarted or (rows and self._stage != stage):
            if tail.restarted:
                last = rows[-1]["step"] if rows else 0
                self._view.note(f"the run goes on from step {last}")
                if stage == _TRAINING:
                    self.step = last
            self._begin(stage, total)
            self._view.catch_up(rows[:-1])
            rows = rows[-1:]
        for row in rows:
            self._view.step(row["step"], row)
        if rows and stage == _TRAINING:
            self.step = rows[-1]["step"]

    def _tell(self, said: Sequence[str | None], show: Any) -> None:
        """Show lines; of many at once, as at the beginning, the last."""
        lines = [line for line in said if line]
        if len(lines) > _MOST_OLD:
            self._view.note(f"{counted(len(lines) - _MOST_OLD, 'earlier line')} left out")
        for line in lines[-_MOST_OLD:]:
            show(line)

    def _show_result(self, when: str, step: int) -> None:
        """An evaluation before or after training, which runs without a curve have alone."""
        path = self._run.evaluation / f"{when}.json"
        if when in self._results or not path.is_file():
            return
        self._results.add(when)
        found = object_or_none(path)
        if found is not None and step not in self._evaluated:
            self._tell([_result(f"{when} training", found)], self._view.note)


def _warned(row: Mapping[str, Any]) -> str:
    said = f"warning, step {row.get('step')}: {row.get('text')}; {row.get('advice')}"
    return visible(said)


def _objects(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of lines; those that are none are left out."""
    found = []
    for line in lines:
        try:
            found.append(parse_object(line))
        except ValueError:
            continue
    return found


def _steps(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The steps of lines with their numbers."""
    rows = [{k: v for k, v in row.items() if is_number(v)} for row in _objects(lines)]
    return [row for row in rows if isinstance(row.get("step"), int)]


def _result(when: str, found: Mapping[str, Any]) -> str | None:
    """An evaluation in a line; None where it has no figure."""
    said = [
        f"{each.label} {each.form.format(found[each.key])}"
        for each in figures_of(found)
        if is_number(found.get(each.key))
    ]
    said += [f"{visible(k)} {v:.1%}" for k, v in found.items() if "/" in k and is_number(v)]
    n = found.get("n")
    count = f" (n = {n})" if is_number(n) and n else ""
    return f"held out, {when}{count}: {'; '.join(said)}" if said else None


def find_followed(path: Path) -> RunFolder:
    """The run of a folder, which may be at its very beginning.

    Raises:
        InputError: it is no run's.
    """
    from toolrest.runs.missing import no_run

    run = RunFolder(path)
    if not run.recipe.is_file() and not is_held(run):
        raise InputError(f"{path}: {no_run(path)}")
    return run

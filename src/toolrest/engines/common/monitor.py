"""A run's warnings and incidents: said to the user, and kept in its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from toolrest.engines.common.incidents import Incident
from toolrest.engines.common.signs import Signs
from toolrest.engines.common.warned import Warned
from toolrest.errors import short_list
from toolrest.io.files import append_json, whole_lines, write_json
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder


class Monitor:
    """Looks for trouble in a run's metrics; each warning is given once, also in a resumed run.

    Args:
        say: shows a line to the user.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, say: Callable[[str], None]) -> None:
        self.say = say
        self._recipe = recipe
        self._run = run
        self._signs = Signs(_scores, frozenset(str(w.get("name")) for w in _rows(run.warnings)))
        for row in _rows(run.metrics):
            numbers = {k: v for k, v in row.items() if isinstance(v, int | float)}
            self._signs.read(int(numbers.get("step", 0)), numbers)

    def read(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Look for trouble in a step's metrics."""
        self._keep(self._signs.read(step, metrics))

    def dropped(self, left_out: int, rows: int) -> None:
        """Warn if many of the rows have prompts that are too long."""
        self._keep(self._signs.dropped(left_out, rows))

    def changed(self, step: int, what: Sequence[str]) -> None:
        """Record that the run goes on with other data, another policy or another reward."""
        if what:
            text = f"since the run began, {short_list(what)}; that was accepted"
            advice = "figures before and after are not of the same; data.json has the hashes"
            append_json(self._run.warnings, asdict(Warned("changed_data", step, text, advice)))

    def keep(self, incident: Incident) -> None:
        """Write an incident to the run's folder, and show it."""
        self._run.incidents.mkdir(exist_ok=True)
        path = self._run.incidents / f"step-{incident.step:06d}.json"
        write_json(path, asdict(incident))
        self.say(f"warning, step {incident.step}: a {incident.what} is not finite; {path}")

    def _keep(self, warnings: list[Warned]) -> None:
        if self._recipe.guards.warn:
            for warned in warnings:
                append_json(self._run.warnings, asdict(warned))
                self.say(str(warned))


def _scores(metrics: Mapping[str, Any]) -> tuple[float, float] | None:
    """Mean scores in [0, 1] of a step's format and correctness, before the schedule maps them onto
    the rewards' ranges; None if one is missing.
    """
    found = (metrics.get("reward/format"), metrics.get("reward/correctness"))
    form, right = (x if isinstance(x, int | float) and math.isfinite(x) else None for x in found)
    return None if form is None or right is None else (form, right)


def _rows(path: Any) -> list[dict[str, Any]]:
    """The objects of a JSONL file; none if there is no file."""
    found = [json.loads(line) for line in whole_lines(path)] if path.is_file() else []
    return [row for row in found if isinstance(row, dict)]

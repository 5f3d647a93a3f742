"""The live view of a comparison: a table on a terminal, a line a finished cell elsewhere."""

from __future__ import annotations

from rich.live import Live
from rich.table import Table

from toolrest.experiments.cells import Cells
from toolrest.experiments.plan import cell_name
from toolrest.io.console import console, table
from toolrest.io.files import open_regular, read_json
from toolrest.io.foreign import parse_object, require_numbers
from toolrest.io.terminal import note_loss
from toolrest.runs.headline import measure

_TAIL = 16384
_SHARES = {"reward/exact_match": "exact", "episode/success": "done"}
"""Metrics of how many responses, or tasks, are right."""


class CompareView:
    """Shows how far every method is."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._console = console()
        self._acts = cells.plan.recipe.environment.source is not None
        self._said: set[tuple[str, int]] = {c for c in cells.plan.cells() if cells.done(c)}
        self._live: Live | None = None

    def __enter__(self) -> CompareView:
        note_loss(self._cells.folder.path / "warnings.jsonl")
        kept, total = len(self._said), len(self._cells.plan.cells())
        if kept:
            self._console.print_line(f"{kept} of {total} runs are there already")
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()

    def tick(self) -> None:
        """Redraw the view."""
        if self._live is not None:
            self._live.update(self._table())
        for cell in self._cells.plan.cells():
            ended = self._cells.done(cell) or cell in self._cells.failed
            if ended and cell not in self._said:
                self._said.add(cell)
                if self._live is None:
                    self._console.print_line(self._line(cell))

    def _line(self, cell: tuple[str, int]) -> str:
        done = f"{len(self._said)}/{len(self._cells.plan.cells())}  {cell_name(*cell)}  "
        if cell in self._cells.failed:
            return done + f"failed: {self._cells.failed[cell]}"
        after = read_json(self._cells.folder.run(*cell).summary)["after"]
        name = measure(acts=self._acts)
        return done + (f"{name} {after['exact_match']:.1%}" if after else "done")

    def _table(self) -> Table:
        methods = table(("method", "runs", "now"), left=("method", "now"))
        plan = self._cells.plan
        for method in plan.methods:
            own = [(method.name, seed) for seed in plan.seeds]
            done = sum(map(self._cells.done, own))
            now = [self._now(cell) for cell in own if cell in self._cells.running]
            failed = sum(cell in self._cells.failed for cell in own)
            now += [f"{failed} failed"] if failed else []
            methods.add_row(method.name, f"{done}/{len(own)}", "; ".join(now))
        return methods

    def _now(self, cell: tuple[str, int]) -> str:
        """The progress of a running cell, from its last metrics."""
        run = self._cells.folder.run(*cell)
        try:
            with open_regular(run.metrics) as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _TAIL))
                last = parse_object(file.read().rstrip(b"\n").split(b"\n")[-1])
            require_numbers(last, "step", *(last.keys() & {"reward", *_SHARES}))
        except (OSError, ValueError):
            return f"seed {cell[1]}: starting"
        text = f"seed {cell[1]}: step {last['step']}/{self._cells.plan.recipe.max_steps}"
        if "reward" in last:
            text += f" reward {last['reward']:.2f}"
        for name, word in _SHARES.items():
            if name in last:
                text += f" {word} {last[name]:.2f}"
        return text

"""The live view of a run: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_REGIONS = ("format", "name", "parameters", "reasoning", "response")


class LiveView:
    """Shows stages, steps and notes.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(highlight=False)
        self._total: int | None = None
        self._progress: Progress | None = None

    def __enter__(self) -> LiveView:
        if self._console.is_terminal and not self._quiet:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task("starting", total=None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def stage(self, text: str, total: int | None = None) -> None:
        """A new part of the job begins; `total`: how much there is to do in it."""
        self._total = total
        if self._progress is not None:
            self._progress.reset(self._task, description=text, total=total)
        else:
            self.note(text)

    def advance(self, done: int) -> None:
        """So much of the part is done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)

    def note(self, text: str) -> None:
        """Something that the user should know."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """An optimiser step is done."""
        self.advance(step)
        self.note(f"step {step}/{self._total}  {describe_step(metrics)}")


def describe_step(metrics: dict[str, Any]) -> str:
    """Reward, exact match and region entropies of a step in one line."""
    parts = [f"reward {metrics['reward']:.2f}"]
    if "reward/exact_match" in metrics:
        parts.append(f"exact {metrics['reward/exact_match']:.2f}")
    statistic = "entropy" if any(f"entropy/{r}" in metrics for r in _REGIONS) else "collision"
    entropies = [
        f"{region} {metrics[f'{statistic}/{region}']:.2f}"
        for region in _REGIONS
        if f"{statistic}/{region}" in metrics
    ]
    return "  ".join([*parts, f"{statistic}:", *entropies])

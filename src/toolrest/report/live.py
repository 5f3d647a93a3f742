"""The live view of a run: a calm board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from toolrest.io.console import console as plain_console
from toolrest.io.console import text_column
from toolrest.io.files import iterate_lines
from toolrest.io.foreign import parse_object
from toolrest.io.terminal import say
from toolrest.report.endings import ENDINGS
from toolrest.report.shading import visible
from toolrest.runs.folder import rollouts_file

_REGIONS = ("format", "name", "parameters", "reasoning", "response")
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.,-=+*#"
"""For terminals that have no others."""
_WIDTH = 24
"""Values of a sparkline."""
_NARROW = 60
"""Columns under which the board is the bar and one line."""
_EVERY = 10
"""Steps between looks at the best and the worst response."""
_CURVES = (
    ("loss", "loss", "{:.3f}"),
    ("mean_token_accuracy", "token accuracy", "{:.2f}"),
    ("reward", "reward", "{:.2f}"),
    ("reward/exact_match", "exact match", "{:.2f}"),
    ("reward/format", "format", "{:.2f}"),
    ("reward/correctness", "correctness", "{:.2f}"),
    ("episode/success", "tasks done", "{:.2f}"),
    ("episode/turns", "turns", "{:.1f}"),
    ("episode/calls", "calls", "{:.1f}"),
    ("episode/errors", "errors", "{:.2f}"),
    ("ending/failed", "failed", "{:.2f}"),
    ("completions/mean_length", "tokens a response", "{:.0f}"),
    ("grad_norm", "gradient norm", "{:.2f}"),
    ("tokens/s", "tokens/s", "{:.0f}"),
)
_TOLD = (("episode/turns", "turns", ".1f"), ("episode/errors", "errors", ".2f"))
"""Of an episode, in the line of a step: metric, word and form."""
_MOST = 300
"""Characters of a response in a line."""
_IF_ANY = ("ending/failed",)
"""Curves that are shown once they are not 0."""


def sparkline(values: Sequence[float], bars: str = _BARS) -> str:
    """The last values as bars between their least and greatest; a gap where one is no number."""
    last = list(values)[-_WIDTH:]
    finite = [value for value in last if math.isfinite(value)]
    if not finite:
        return " " * len(last)
    low, high = min(finite), max(finite)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(
        bars[round((value - low) * scale)] if math.isfinite(value) else " " for value in last
    )


class LiveView:
    """Shows stages, steps and notes.

    Args:
        quiet: show nothing.
        rollouts: the run's folder of rollouts, whose best and worst response is shown now and then.
        console: where to; standard output if None.
        rate: how often a second a terminal is drawn anew.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        rollouts: Path | None = None,
        console: Console | None = None,
        rate: float = 4,
    ) -> None:
        self._quiet = quiet
        self._rollouts = rollouts
        self._console = console or plain_console()
        self._rate = rate
        self._total: int | None = None
        self._history: defaultdict[str, list[float]] = defaultdict(list)
        self._seen: dict[str, Any] = {}
        self._live: Live | None = None
        self.at = 0
        """The last step that was shown."""

    def __enter__(self) -> LiveView:
        if self._console.is_terminal and not self._quiet:
            self._progress = Progress(
                text_column("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task("starting", total=None)
            self._live = Live(console=self._console, refresh_per_second=self._rate)
            self._live.start()
            self._refresh()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, text: str, total: int | None = None) -> None:
        """A new part of the job begins; `total`: how much there is to do in it."""
        self._total = total
        self._history.clear()
        self._seen = {}
        if self._live is not None:
            self._progress.reset(self._task, description=text, total=total)
            self._refresh()
        else:
            self.note(text)

    def advance(self, done: int) -> None:
        """Set the amount of work done in this part."""
        if self._live is not None:
            self._progress.update(self._task, completed=done)
            self._refresh()

    def note(self, text: str) -> None:
        """Show a note."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Show a warning on standard error, also in a quiet view."""
        if self._quiet:
            say(text, err=True)
        else:
            self._console.print(text, style="yellow", soft_wrap=True)

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """Show the metrics of an optimiser step."""
        self.at = step
        self._remember(metrics)
        self.advance(step)
        if self._live is None:
            of = "" if self._total is None else f"/{self._total}"
            self.note(f"step {step}{of}  {describe_step(metrics)}")
        if self._rollouts is not None and step % _EVERY == 0 and not self._quiet:
            for line in best_and_worst(self._rollouts, step):
                self.note(line)

    def catch_up(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take steps that were done before anybody looked: into the curves, not into lines."""
        for metrics in rows:
            self._remember(metrics)
        if rows:
            self.at = rows[-1]["step"]
            if self._live is not None:  # not an advance, by which the time that is left is told
                self._progress.reset(self._task, total=self._total, completed=self.at)
                self._refresh()

    def _remember(self, metrics: dict[str, Any]) -> None:
        displayed = dict(metrics)
        if not _is_supervised(metrics):
            displayed.pop("loss", None)  # of a policy's gradient: its value says nothing
        tokens, seconds = (
            metrics.get(key, 0.0) - self._seen.get(key, math.inf)
            for key in ("num_tokens", "seconds")
        )
        if seconds > 0:
            displayed["tokens/s"] = tokens / seconds
        self._seen = metrics
        for name, value in displayed.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._history[name].append(float(value))

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._board())

    def _board(self) -> RenderableType:
        """The bar, and once there are steps the curves and the regions."""
        bars = _BARS if self._console.encoding.lower().startswith("utf") else _PLAIN_BARS
        if not self._history:
            return self._progress
        if self._console.width < _NARROW:
            return Group(self._progress, describe_step(self._seen))
        curves = Table.grid(padding=(0, 1))
        for name, label, form in _CURVES:
            values = self._history.get(name)
            if values and (any(values) or name not in _IF_ANY):
                curves.add_row(label, sparkline(values, bars), form.format(values[-1]))
        if _is_supervised(self._seen):
            return Group(self._progress, curves)
        regions = Table(box=None, padding=(0, 1))
        statistic = _statistic(self._history)
        for heading in ("region", statistic, "", "weight", ""):
            regions.add_column(heading)
        for region in _REGIONS:
            row = [region]
            for name in (statistic, "weight"):
                values = self._history.get(f"{name}/{region}", [])
                row += [sparkline(values, bars), f"{values[-1]:.2f}" if values else ""]
            if any(row[1:]):
                regions.add_row(*row)
        return Group(self._progress, curves, regions)


def best_and_worst(rollouts: Path, step: int) -> list[str]:
    """The best and the worst of the responses that were saved at a step, a line each."""
    try:
        path = rollouts_file(rollouts, step)
        rows = [parse_object(line) for line in iterate_lines(path, "strict")]
        known = [row for row in rows if row["reward"]["total"] is not None]
        ranked = sorted(known, key=lambda row: row["reward"]["total"])
        pairs = (("best", ranked[-1]), ("worst", ranked[0]))
        return [f"{label} saved {_told(row)}" for label, row in pairs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return []


def _told(row: dict[str, Any]) -> str:
    """A saved response, or what was said in an episode, with its reward."""
    reward = f"reward {row['reward']['total']:.2f}"
    if "episode" not in row:
        return f"response, {reward}: {visible(row['response'])[:_MOST]}"
    episode = row["episode"]
    said = []
    for turn in episode["turns"]:
        said += [turn["text"], *(f"({name} gave {text})" for name, text in turn["results"])]
        said += [f"(user: {turn['said']})"] if turn["said"] is not None else []
    ending = ENDINGS.get(episode["ending"], str(episode["ending"]))
    return f"episode, {reward}, {ending}: {visible(' '.join(said))[:_MOST]}"


def describe_step(metrics: dict[str, Any]) -> str:
    """Reward, exact match and region entropies of a step in one line; in place of exact match the
    tasks done, turns and errors of one in an environment; loss, tokens and learning rate of a
    supervised one.

    A step on responses that an earlier one was on has no reward of its own.
    """
    if _is_supervised(metrics):
        parts = [f"loss {metrics['loss']:.4f}"]
        if "mean_token_accuracy" in metrics:
            parts.append(f"token accuracy {metrics['mean_token_accuracy']:.2f}")
        if "num_tokens" in metrics:
            parts.append(f"tokens {metrics['num_tokens']:,.0f}")
        if "learning_rate" in metrics:
            parts.append(f"learning rate {metrics['learning_rate']:.1e}")
        return "  ".join(parts)
    parts = [f"reward {metrics['reward']:.2f}"] if "reward" in metrics else []
    if "reward/exact_match" in metrics:
        parts.append(f"exact {metrics['reward/exact_match']:.2f}")
    if "episode/success" in metrics:
        parts.append(f"done {metrics['episode/success']:.0%}")
    parts += [f"{word} {metrics[key]:{form}}" for key, word, form in _TOLD if key in metrics]
    if metrics.get("ending/failed"):
        parts.append(f"failed {metrics['ending/failed']:.0%}")
    statistic = _statistic(metrics)
    entropies = [
        f"{region} {metrics[f'{statistic}/{region}']:.2f}"
        for region in _REGIONS
        if f"{statistic}/{region}" in metrics
    ]
    return "  ".join([*parts, f"{statistic}:", *entropies])


def _statistic(known: Collection[str]) -> str:
    """Which measure of uncertainty a run weighs by, by the names of its metrics."""
    by_collision = any(f"collision/{region}" in known for region in _REGIONS)
    return "collision" if by_collision else "entropy"


def _is_supervised(metrics: dict[str, Any]) -> bool:
    """Whether a step was on demonstrations: those on rollouts have shares of regions."""
    sampled = any(name.startswith(("reward", "completions/", "share/")) for name in metrics)
    return "loss" in metrics and not sampled

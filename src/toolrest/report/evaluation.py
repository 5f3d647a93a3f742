"""The live view of an evaluation, and its table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from toolrest.errors import printable
from toolrest.evaluate import evaluation
from toolrest.evaluate.episode import Answer, Outcome
from toolrest.io.console import PlainConsole, console, table, text_column
from toolrest.io.terminal import note_loss
from toolrest.report.endings import told_ending

_SECONDS_BETWEEN_LINES = 30.0


class EvaluationView(evaluation.Progress):
    """A bar with rate and time left on a terminal, a line now and then elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = console(stderr=True)
        self._quiet = quiet
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bar = Progress(
                text_column("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                text_column("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
        self._items = self._finished = self._right = self._answers = 0
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, items: int, folder: Path) -> None:
        note_loss(folder / "warnings.jsonl")
        self._items = items
        self._start = self._last = time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("items", total=items, rate="")
        elif not self._quiet:
            self._console.print_line(f"{items} items; answers are kept in {folder}")

    def note(self, text: str) -> None:
        if not self._quiet:
            self._console.print_line(f"note: {text}")

    def answered(self, answer: Answer) -> None:
        self._answers += 1
        self._show()

    def done(self, outcome: Outcome) -> None:
        self._finished += 1
        self._right += outcome.correct
        self._show()

    def played(self, count: int) -> None:
        self._finished = count
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        seconds = max(1e-9, now - self._start)
        rate = f"{self._answers / seconds:.1f} answers/s"
        right = f", {self._right} right"
        if not self._answers:  # of an environment
            rate, right = f"{self._finished / seconds:.1f} episodes/s", ""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._finished, rate=rate)
        elif not self._quiet and now - self._last > _SECONDS_BETWEEN_LINES:
            self._last = now
            left = (now - self._start) / max(1, self._finished) * (self._items - self._finished)
            left_text = f"{left / 60:.0f} min left" if self._finished else "time left not known yet"
            self._console.print_line(
                f"{self._finished}/{self._items} items{right}, {rate}, {left_text}"
            )


def print_evaluation(found: evaluation.Evaluation, console: PlainConsole) -> None:
    """Print the table of an evaluation, and the place of its files."""
    result = found.result
    extra = sorted(result["all"]["scores"])
    rows = table(("", "n", "right", "95 %", *extra, "tokens"))
    categories = dict(result["categories"])
    if len(categories) > 1 and "accuracy" in result["all"]:
        categories["all"] = result["all"]
    for name, row in categories.items():
        tokens = "" if row["tokens"] is None else f"{row['tokens']['value']:.0f}"
        rows.add_row(
            name if row.get("whole", True) else f"{name} (in part)",
            str(row["n"]),
            f"{row['accuracy']:.2%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            *(_interval(row["scores"].get(key), key) for key in extra),
            tokens,
        )
    for name, mean in (result.get("means") or {}).items():
        rows.add_row(
            f"mean: {name}",
            "",
            f"{mean['value']:.2%}",
            f"{mean['low']:.1%} to {mean['high']:.1%}",
            *("" for _ in extra),
            "",
            style="bold",
        )
    console.print(rows)
    statuses = result["all"]["statuses"]
    total = max(1, sum(statuses.values()))
    console.print_line(
        "replies      " + ", ".join(f"{k} {n / total:.1%}" for k, n in statuses.items())
    )
    limit = result["max_tokens"]
    console.print_line(f"answers      at most {limit['value']} tokens: {limit['from']}")
    if result["all"]["checks"]:
        checks = list(result["all"]["checks"].items())[:6]
        console.print_line("failed at    " + ", ".join(f"{k} {n}" for k, n in checks))
    dtype = result["settings"]["dtype"]
    console.print_line(f"computed     by {result['settings']['backend']}, {dtype}")
    for warning in result.get("server", {}).get("warnings", ()):
        console.print_line(f"warning      {printable(warning)}")
    console.print_line(f"folder       {found.folder}")
    console.print_line(f"failures     head -n 1 {found.folder / 'failures.jsonl'}")
    if found.result_files is not None:
        root = found.result_files.parent.parent
        console.print_line(
            f"official     BFCL_PROJECT_ROOT={root.resolve()} bfcl evaluate --model "
            f"{found.result_files.name.replace('_', '/', 1)} --partial-eval"
        )


def print_episodes(found: evaluation.Evaluation, console: PlainConsole) -> None:
    """Print the tables of an evaluation in an environment, and the place of its files."""
    result = found.result
    counts = ("turns", "calls", "errors")
    rows = table(("", "tasks", "done", "95 %", "reward", *counts))
    for name, row in result["categories"].items():
        rows.add_row(
            name,
            str(row["n"]),
            f"{row['accuracy']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            _interval(row["scores"]["reward"], "reward"),
            *(f"{row['scores'][key]['value']:.2f}" for key in counts),
        )
    console.print(rows)
    if result["asked"]["trials"] > 1:
        powers = table(("done in all of", "tasks", "pass^k", "95 %"))
        for k, value in result["pass^k"].items():
            powers.add_row(
                f"{k} trials" if k != "1" else "1 trial",
                str(value["tasks"]),
                f"{value['value']:.1%}",
                f"{value['low']:.1%} to {value['high']:.1%}",
            )
        console.print(powers)
    for name, row in result["categories"].items():
        total = sum(row["endings"].values())
        told = ", ".join(
            f"{told_ending(ending)} {n / total:.1%}" for ending, n in row["endings"].items()
        )
        console.print_line(f"{name:<12} {told}")
    if result["failed"]:
        console.print_line(
            f"failed       {result['failed']} episodes, in which the environment failed; they are "
            f"left out ({found.folder / 'environment.log'})"
        )
    settings = result["settings"]
    console.print_line(
        f"computed     by {settings['backend']}, {settings['dtype']}, at temperature "
        f"{settings['temperature']:g}"
    )
    console.print_line(f"folder       {found.folder}")
    console.print_line(f"episodes     head -n 1 {found.folder / 'episodes.jsonl'}")


def _interval(score: dict[str, float] | None, name: str) -> str:
    if score is None:
        return ""
    form, ends = ("{:.2f}", "{:.2f}") if name == "reward" else ("{:.2%}", "{:.1%}")
    low, high = (ends.format(score[end]) for end in ("low", "high"))
    return f"{form.format(score['value'])} ({low} to {high})"


def print_comparison(
    found: dict[str, dict[str, Any]], differing: Sequence[str], console: PlainConsole
) -> None:
    """Print the comparison of two evaluations, and their differences other than the policies."""
    rows = table(
        ("", "n", "difference", "95 %", "only first", "only second", "p"),
        caption="difference: second minus first; p: McNemar's exact test",
    )
    for name, row in found.items():
        rows.add_row(
            name,
            str(row["n"]),
            f"{row['difference']:+.2%}",
            f"{row['low']:+.1%} to {row['high']:+.1%}",
            str(row["only_first"]),
            str(row["only_second"]),
            f"{row['p']:.3f}",
        )
    console.print(rows)
    for line in differing:
        console.print_line(f"they also differ in  {printable(line)}")

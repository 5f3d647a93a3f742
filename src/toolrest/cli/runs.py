"""`toolrest runs`: the runs of a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import require_shown, say

if TYPE_CHECKING:
    from toolrest.runs.listing import Listed

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that they are in.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List runs, the newest first: how far they are, and what held-out tasks say."""
    with one_line_errors():
        from toolrest.runs.listing import list_runs

        found = list_runs(folder)
        if as_json:
            import json
            from dataclasses import asdict

            say(json.dumps([asdict(run) for run in found], ensure_ascii=False, indent=2))
        elif found:
            _print(found)
        else:
            say(f"no runs in {folder}; toolrest train makes one")
        require_shown()


def _print(found: "list[Listed]") -> None:
    from rich.table import Table
    from rich.text import Text

    from toolrest.io.console import console

    table = Table(box=None, padding=(0, 2, 0, 0))
    measures = list(dict.fromkeys(run.measure for run in found))
    told = measures[0] if len(measures) == 1 else "held out"
    for heading in ("run", "state", "scheme", "policy", "steps", told, "age"):
        side = "right" if heading in ("steps", "age") else "left"
        table.add_column(heading, justify=side, overflow="fold")
    for run in found:
        right = _right(run)
        if right and len(measures) > 1:
            right += f", {run.measure}"
        cells = (run.name, run.state, run.scheme, run.policy, _steps(run), right)
        table.add_row(*map(Text, (*cells, _age(run.age))))
    view = console()
    if not view.is_terminal:
        view.width = 200  # a line a run, for other programs
    view.print(table)


def _steps(run: "Listed") -> str:
    return str(run.steps) if run.of is None else f"{run.steps}/{run.of}"


def _right(run: "Listed") -> str:
    """Before and after, as far as they are known."""
    if run.before is None and run.after is None:
        return ""
    said = ["?" if value is None else f"{value:.1%}" for value in (run.before, run.after)]
    return f"{said[0]} -> {said[1]}{', greedy' if run.greedy else ', sampled'}"


def _age(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "now"

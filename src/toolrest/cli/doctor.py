"""`toolrest doctor`: is this machine ready for a recipe?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.recipes import ARGUMENTS, split_arguments
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.doctor.check import Section

_MARKS = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "unknown": ("unknown", "yellow"),
    "problem": ("PROBLEM", "bold red"),
}


def doctor(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="Calculate memory for a h100, h200, a100 or rtx4090, not this machine."),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option(help="Train two steps of the policy; of a large one, the embedded one."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check this machine, and a recipe's policy, data and needs; say how to mend what is wrong.

    Exit code 0: a run would start. 1: something would stop it.
    """
    with one_line_errors():
        if gpu is not None:
            from toolrest.estimate.gpus import get_gpu

            get_gpu(gpu)
        path, overrides = split_arguments(arguments or [])
        from rich.text import Text

        from toolrest.doctor.examine import examine
        from toolrest.io.console import console

        view, notices = console(), console(stderr=True)
        sections: list[Section] = []
        with notices.status("", spinner="dots") as status:
            found = examine(
                path,
                overrides,
                gpu=gpu,
                self_test=self_test,
                begins=lambda s: status.update(Text(s)),
            )
            try:
                for section in found:
                    sections.append(section)
                    if not as_json:
                        _print(section, view)
                    if section.name == "environment":
                        _calm()
            except KeyboardInterrupt:
                say("stopped", err=True)
                raise typer.Exit(130) from None
    counts = _counts(sections)
    if as_json:
        _print_json(sections, counts)
    else:
        view.print(_verdict(counts))
    raise typer.Exit(1 if counts["problem"] else 0)


def _calm() -> None:
    """Keep libraries that can be imported from writing between the lines."""
    from contextlib import suppress

    from toolrest.cli.work import quiet_libraries
    from toolrest.io.hub import calm_hub

    with suppress(ImportError):
        calm_hub()
        quiet_libraries()


def _counts(sections: "list[Section]") -> dict[str, int]:
    statuses = [check.status.value for section in sections for check in section.checks]
    return {status: statuses.count(status) for status in _MARKS}


def _verdict(counts: dict[str, int]) -> str:
    parts = [
        f"{counts[status]} {one if counts[status] == 1 else many}"
        for status, one, many in (
            ("problem", "problem", "problems"),
            ("warning", "warning", "warnings"),
            ("unknown", "check that could not be made", "checks that could not be made"),
        )
        if counts[status]
    ]
    said = ", ".join(parts) or "nothing is wrong"
    return f"not ready: {said}" if counts["problem"] else f"ready: {said}"


def _print(section: "Section", console: Any) -> None:
    """A table in a terminal; elsewhere a line a check, and one for what mends it."""
    from rich.table import Table
    from rich.text import Text

    from toolrest.errors import printable

    if not console.is_terminal:
        console.print(section.name)
        for check in section.checks:
            mark = _MARKS[check.status.value][0]
            console.print_line(f"  {mark:<8}{check.name}: {printable(check.found)}")
            if check.mend:
                console.print_line(f"          mend: {printable(check.mend)}")
        return
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column(width=8, no_wrap=True)
    table.add_column(width=13)
    table.add_column(overflow="fold")
    for check in section.checks:
        mark, style = _MARKS[check.status.value]
        found = Text(printable(check.found))
        if check.mend:
            found.append(f"\n{printable(check.mend)}", style="bold" if style != "cyan" else "dim")
        table.add_row(Text(mark, style=style), Text(check.name), found)
    console.print(Text(section.name, style="bold"))
    console.print(table)


def _print_json(sections: "list[Section]", counts: dict[str, int]) -> None:
    import json
    from dataclasses import asdict

    found = {
        "ready": not counts["problem"],
        "counts": counts,
        "sections": [asdict(section) for section in sections],
    }
    say(json.dumps(found, ensure_ascii=False, indent=2))

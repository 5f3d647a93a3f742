"""What is printed at the end of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.errors import InputError, counted
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.runs.folder import RunFolder


def write_page(run: "RunFolder") -> Path | None:
    """The run's page; a run is no worse for one that cannot be written."""
    from toolrest.report.page_of_runs.write import write_report

    page = run.path / "report.html"
    try:
        write_report([run.path], page)
    except InputError as error:
        say(f"toolrest: {error}", err=True)
        return None
    return page


def print_summary(summary: dict[str, Any], run: "RunFolder") -> None:
    """Print the evaluations, and where the rest is."""
    from toolrest.io.console import console as plain_console
    from toolrest.io.console import table
    from toolrest.runs.headline import figures_of

    console = plain_console()
    if (after := summary["after"]) is not None:
        sides = {"before": summary["before"], "after": after}
        known = {when: found for when, found in sides.items() if found is not None}
        title = f"held-out tasks, n = {after['n']}" if after["n"] else "benchmarks"
        rows = table(("", *known), title=title, title_justify="left")
        for each in figures_of(after):
            if all(each.key in found for found in known.values()):
                cells = (each.form.format(found[each.key]) for found in known.values())
                rows.add_row(each.full_label, *cells)
        for key in after:
            if "/" in key and all(key in found for found in known.values()):  # of a benchmark
                rows.add_row(key, *(f"{found[key]:.1%}" for found in known.values()))
        console.print(rows)
        failed = {when: found.get("failed", 0) for when, found in known.items()}
        if any(failed.values()):
            counts = " and ".join(f"{count} {when}" for when, count in failed.items())
            console.print_line(
                f"the environment failed in so many episodes, which are left out: {counts}"
            )
    console.print(
        f"{summary['scheme']}, seed {summary['seed']}: {counted(summary['steps'], 'step')}, "
        f"{summary['seconds']:.0f} s"
    )
    if "ended_early" in summary:
        console.print_line(summary["ended_early"])
    if "changed_data" in summary:
        console.print_line(f"before and after are not of the same data: {run.data}")
    console.print_line(f"run folder   {run.path}")
    if run.metrics.is_file():
        console.print_line(f"a step each  tail -n 1 {run.metrics}")
    if (best := summary.get("best")) is not None:
        console.print_line(
            f"best policy  {run.path / best['checkpoint']}: {best['metric']} {best['value']:.4g}"
        )
    responses = run.evaluation / "after.jsonl"
    if responses.is_file():
        console.print_line(f"responses    head -n 1 {responses}")
    if summary["scheme"] in ("sft", "tsft", "rsft"):
        console.print_line(f"policy       {run.warm_start}")
    elif summary["scheme"] != "uniform":
        console.print_line(f"with GRPO    {_same_with_grpo(run)}")


def _same_with_grpo(run: "RunFolder") -> str:
    """The command that trains the same with uniform weights."""
    name = f"{run.path.name}-uniform"
    return f"toolrest train {run.recipe} name={name} 'weighting={{scheme: uniform}}'"

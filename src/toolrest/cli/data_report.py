"""What `toolrest data check` prints."""

from __future__ import annotations

from rich.console import Console

from toolrest.data.check import KINDS, Report
from toolrest.errors import printable
from toolrest.io.console import console as plain_console
from toolrest.io.console import table


def print_report(report: Report, rows: int) -> None:
    """Print what was found in a source.

    Args:
        rows: of each kind that are named.
    """
    console = plain_console()
    title = f"{report.source}: {report.rows} rows, {report.samples} samples"
    console.print_line(title)
    if report.findings:
        found_rows = table(("", "rows", "first of them"), left=("", "first of them"))
        for kind in KINDS:
            found = report.findings.get(kind, [])
            if found:
                said = [f"{row}: {printable(detail)}" for row, detail in found[:rows]]
                if len(found) > rows:
                    said.append(f"and {len(found) - rows:,} more (--rows, or --output for all)")
                first = "\n".join(said)
                found_rows.add_row(kind, str(len({row.split(".")[0] for row, _ in found})), first)
        console.print(found_rows)
    else:
        console.print("nothing found")
    if report.lengths:
        _print_histogram(report.lengths, console)


def _print_histogram(lengths: list[int], console: Console) -> None:
    import numpy as np

    counts, edges = np.histogram(lengths, bins=min(10, max(1, len(set(lengths)))))
    widest = max(counts)
    console.print(f"prompt tokens: median {np.median(lengths):.0f}, most {max(lengths)}")
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        bar = "#" * round(40 * count / widest)
        console.print(f"  {low:7.0f} to {high:7.0f} {count:7d} {bar}")

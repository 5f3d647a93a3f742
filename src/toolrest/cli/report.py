"""`toolrest report`: runs as one page, or as figures."""

from pathlib import Path
from typing import Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import say


def report(
    runs: Annotated[list[Path], typer.Argument(help="Runs' folders.")],
    output: Annotated[
        Path | None, typer.Option(help="The page. Default: report.html in the first run.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for figures of a paper, PNG, SVG and PDF.")
    ] = None,
) -> None:
    """Write one self-contained page of a run, or of several side by side."""
    with one_line_errors():
        from toolrest.cli.work import quiet_libraries
        from toolrest.report.page_of_runs.write import write_report

        quiet_libraries()
        target = output or runs[0] / "report.html"
        write_report(runs, target)
        if figures is not None:
            from toolrest.report.page_of_runs.figures import write_figures

            for made in write_figures(runs, figures):
                say(str(made))
        say(f"{target}, {target.stat().st_size / 1e6:.1f} MB")

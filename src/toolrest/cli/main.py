"""The `toolrest` command. Commands import what they need when they run."""

import typer

from toolrest.cli.compare import compare
from toolrest.cli.data import data
from toolrest.cli.doctor import doctor
from toolrest.cli.estimate import estimate
from toolrest.cli.evaluate import evaluate
from toolrest.cli.group import OneLineGroup
from toolrest.cli.inspect import inspect
from toolrest.cli.report import report
from toolrest.cli.runs import runs
from toolrest.cli.score import score
from toolrest.cli.shipped import recipes
from toolrest.cli.train import train
from toolrest.cli.variance import variance
from toolrest.io.terminal import keep_streams, say

app = typer.Typer(
    name="toolrest",
    cls=OneLineGroup,
    help="Train language models to use tools, with token weights from region entropies (ResT).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(train)
app.command()(evaluate)
app.add_typer(data)
app.command()(doctor)
app.command()(estimate)
app.command()(runs)
app.command()(inspect)
app.command()(report)
app.command()(score)
app.command()(compare)
app.command()(variance)
app.command()(recipes)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from toolrest import __version__

        say(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    keep_streams()
    app()

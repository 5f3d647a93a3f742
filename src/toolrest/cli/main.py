"""The `toolrest` command. Commands import what they need when they run."""

import typer

from toolrest.cli.chat import chat
from toolrest.cli.compare import compare
from toolrest.cli.data import data
from toolrest.cli.doctor import doctor
from toolrest.cli.estimate import estimate
from toolrest.cli.evaluate import evaluate
from toolrest.cli.examples import HELP_OPTIONS, example
from toolrest.cli.export import export
from toolrest.cli.gain import gain
from toolrest.cli.group import OneLineGroup
from toolrest.cli.inspect import inspect
from toolrest.cli.new import new
from toolrest.cli.report import report
from toolrest.cli.runs import runs
from toolrest.cli.score import score
from toolrest.cli.shipped import recipes
from toolrest.cli.train import train
from toolrest.cli.variance import variance
from toolrest.cli.watch import watch
from toolrest.io.terminal import keep_streams, say

app = typer.Typer(
    name="toolrest",
    cls=OneLineGroup,
    help="Train language models to use tools, with token weights from region entropies (ResT).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
    epilog=example("toolrest"),
)
app.command(epilog=example("new"))(new)
app.command(epilog=example("train"))(train)
app.command(epilog=example("evaluate"))(evaluate)
app.add_typer(data)
app.command(epilog=example("doctor"))(doctor)
app.command(epilog=example("estimate"))(estimate)
app.command(epilog=example("runs"))(runs)
app.command(epilog=example("watch"))(watch)
app.command(epilog=example("inspect"))(inspect)
app.command(epilog=example("report"))(report)
app.command(epilog=example("chat"))(chat)
app.command(epilog=example("export"))(export)
app.command(epilog=example("score"))(score)
app.command(epilog=example("compare"))(compare)
app.command(epilog=example("variance"))(variance)
app.command(epilog=example("gain"))(gain)
app.command(epilog=example("recipes"))(recipes)


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

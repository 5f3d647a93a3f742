"""`toolrest estimate`: memory, time and disk of recipes, calculated."""

from typing import Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import require_shown


def estimate(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE]... [KEY=VALUE]...", show_default=False),
    ] = None,
    gpu: Annotated[str, typer.Option(help="Which GPU, by its short name.")] = "h100",
    gpus: Annotated[int | None, typer.Option(help="As many instead of the recipe's.")] = None,
    prompt: Annotated[float | None, typer.Option(min=1, help="Mean tokens of a prompt.")] = None,
    response: Annotated[
        float | None, typer.Option(min=1, help="Mean tokens of a response.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="A Markdown line a recipe.")] = False,
) -> None:
    """Calculate what recipes need on a GPU: memory, time and disk; nothing is started."""
    with one_line_errors():
        from toolrest.estimate.plan import PROMPT_TOKENS, RESPONSE_TOKENS
        from toolrest.estimate.show import print_estimates

        mean = (prompt or PROMPT_TOKENS, response or RESPONSE_TOKENS)
        print_estimates(recipes or [], gpu, gpus, mean, table=table)
        require_shown()

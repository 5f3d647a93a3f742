"""A recipe and its overrides as a command's arguments."""

from pathlib import Path

import typer

ARGUMENTS = typer.Argument(
    metavar="[RECIPE] [KEY=VALUE]...",
    help="A recipe file, then overrides such as max_steps=5 or rollout.group_size=4.",
    show_default=False,
)


def split_arguments(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """The recipe's path, where the first argument is one, and the overrides."""
    if arguments and "=" not in arguments[0]:
        return Path(arguments[0]), arguments[1:]
    return None, arguments

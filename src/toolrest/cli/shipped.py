"""`toolrest recipes`: the recipes that come with the package."""

from typing import Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import require_shown, say


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one, to be changed.")] = None,
) -> None:
    """List the recipes that come with the package: `toolrest train NAME` takes one."""
    with one_line_errors():
        from toolrest.errors import InputError
        from toolrest.io.files import read_text
        from toolrest.recipe.shipped import about, nearest_recipe, path_name, shipped_recipes

        found = shipped_recipes()
        if name is None:
            width = max(map(len, found), default=0)
            for each, path in found.items():
                say(f"{each:<{width}}  {about(path)}")
        elif path_name(name) in found:
            say(read_text(found[path_name(name)]).rstrip("\n"))
        else:
            raise InputError(f"{name}: there is no such recipe; {nearest_recipe(name)}")
        require_shown()

"""The recipes that come with the package, by name."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from toolrest.io.files import read_text, split_lines

_HERE = Path(__file__).parents[1]


@lru_cache(maxsize=1)
def shipped_recipes() -> dict[str, Path]:
    """{name: file} of the recipes, in order; in a source tree those of its folder `recipes`."""
    for folder in (_HERE / "recipes", _HERE.parents[1] / "recipes"):
        found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        if found:
            return found
    return {}


def find_recipe(given: str) -> Path:
    """The file of a recipe: one that is here, else a shipped one of this name.

    A folder here hides none. The file need not exist: whoever reads it says so.
    """
    path = Path(given)
    return path if path.is_file() else shipped_recipes().get(path_name(given), path)


def path_name(given: str) -> str:
    """The name that a shipped recipe may have: without `.yaml`, and empty for a path."""
    return "" if "/" in given else given.removesuffix(".yaml")


def nearest_recipe(given: str) -> str:
    """How a message goes on after there is no such recipe."""
    near = get_close_matches(Path(given).stem, list(shipped_recipes()), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}`toolrest recipes` lists those that come with the package"


def about(recipe: Path) -> str:
    """The first line of a recipe's comment."""
    lines = split_lines(read_text(recipe))
    return lines[0].lstrip("# ") if lines and lines[0].startswith("#") else ""

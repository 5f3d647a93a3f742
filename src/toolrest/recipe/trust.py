"""Which keys of a recipe have code run, and the refusal of those that nobody vouched for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolrest.environments.source import BUILT_IN
from toolrest.errors import InputError, short
from toolrest.recipe.schema import SHIPPED_SHARDING, Recipe


def names_code(recipe: Recipe) -> dict[str, Any]:
    """The keys by which a recipe has code run when it is trained with, and their values."""
    found: dict[str, Any] = {}
    if recipe.trust_remote_code:
        found["trust_remote_code"] = True
    if recipe.reward.functions:
        found["reward.function"] = recipe.reward.function
    source = recipe.environment.source
    if source is not None and source not in BUILT_IN and "://" not in source:
        found["environment.source"] = source
    if recipe.engine.options:
        found["engine.options"] = recipe.engine.options
    if recipe.engine.sharding not in SHIPPED_SHARDING:
        found["engine.sharding"] = recipe.engine.sharding
    return found


def check_trusted(recipe: Recipe, path: Path) -> None:
    """Refuse to train with a recipe that names code and that the user has not named.

    Args:
        path: where it lies, named in errors.

    Raises:
        InputError: it does, and the command has to say that it may.
    """
    for key, value in names_code(recipe).items():
        raise InputError(
            f"{path}: {key}={short(value)} runs code; read it, and if you trust it, give "
            "--trust-remote-code"
        )

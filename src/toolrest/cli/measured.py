"""The policies that a command measures: a recipe's, or a run's first and kept ones."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.cli.recipes import split_arguments
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.recipe import Recipe
    from toolrest.runs.folder import RunFolder


def measured_policies(
    arguments: list[str], run: Path | None
) -> tuple["Recipe", list[tuple[str, Path | None]]]:
    """The recipe, and by label the folder of each policy; None: the recipe's own.

    Args:
        run: a run's folder; its first policy and every checkpoint that it kept.

    Raises:
        InputError: it is no run, or its data or policy have changed since.
    """
    from toolrest.errors import InputError
    from toolrest.policy.folder import kept_recipe
    from toolrest.recipe import load_recipe, load_run_recipe
    from toolrest.runs.folder import RunFolder

    path, overrides = split_arguments(arguments)
    if run is None:
        recipe = load_recipe(path, overrides)
        return recipe, [(recipe.policy, None)]
    folder = RunFolder(run)
    if not folder.recipe.is_file():
        from toolrest.runs.missing import no_run

        raise InputError(f"--run {run}: {no_run(run)}")
    if path is not None:
        raise InputError(f"{path}: with --run the recipe is the run's own")
    recipe = kept_recipe(load_run_recipe(folder.recipe, overrides, trusted=False), folder.recipe)
    _check_unchanged(recipe, folder)
    whole = folder.whole_checkpoints().items()
    kept = [(f"step {step}", each) for step, each in whole if _is_policy(each)]
    return recipe, [("step 0", None), *kept]


def _check_unchanged(recipe: "Recipe", run: "RunFolder") -> None:
    """What the run was trained on is still there, but for what an override has replaced."""
    from toolrest.errors import InputError, short_list
    from toolrest.runs.origins import differences, file_origins, read_origins

    now, before = file_origins(recipe), read_origins(run.data)
    both = before.keys() & now.keys()
    changed = differences({name: before[name] for name in both}, {name: now[name] for name in both})
    if changed:
        raise InputError(
            f"--run {run.path}: since the run began, {short_list(changed)}; put back what was there"
        )
    if not before:
        say(f"note: {run.path} has kept no hashes of its data and policy", err=True)


def _is_policy(folder: Path) -> bool:
    from toolrest.policy.adapters import has_adapters

    return (folder / "config.json").is_file() or has_adapters(folder)


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

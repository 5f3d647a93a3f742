"""Finds the policy to evaluate and the recipe that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolrest.engines.policies import policies_by_step
from toolrest.errors import InputError, file_name
from toolrest.io.foreign import user_path
from toolrest.policy.wording import Wording, read_wording, wording_of
from toolrest.recipe import EMBEDDED, Recipe, load_run_recipe
from toolrest.runs.best import best_of
from toolrest.runs.folder import RunFolder
from toolrest.runs.taught import run_of_policy


@dataclass(frozen=True)
class Target:
    """A policy to evaluate."""

    recipe: Recipe
    """Names the policy; of a run's checkpoint, the run's recipe with the checkpoint as policy."""
    label: str
    """Short, for folders and tables."""
    run: RunFolder | None = None
    """The run that it is of, whose dialect and folder are taken."""

    def wording(self) -> Wording | None:
        """How its prompts were worded in training; None where neither a run nor its folder says.

        Raises:
            InputError: what its folder says cannot be read.
        """
        policy = self.recipe.policy
        if policy == EMBEDDED or self.run is not None:
            return wording_of(self.recipe)
        folder = user_path(policy, policy)
        return read_wording(folder) if folder.is_dir() else None


def find_target(policy: str, checkpoint: str = "last", trust_remote_code: bool = False) -> Target:
    """The policy of a run's folder, a checkpoint's folder, `embedded`, or a hub name.

    Args:
        checkpoint: of a run: `last`, `best` (by `evaluation.metric` on the way) or a step.

    Raises:
        InputError: the run has no such checkpoint, or the folder is neither.
    """
    path = user_path(policy, policy)
    run = RunFolder(path)
    if run.recipe.is_file():
        recipe = load_run_recipe(run.recipe, [], trusted=trust_remote_code)
        folder, name = _checkpoint(run, recipe, checkpoint)
        return Target(_of(recipe, folder), f"{path.resolve().name}-{name}", run)
    if checkpoint != "last":
        raise InputError(
            f"--checkpoint {checkpoint}: {policy} is no run's folder, which alone has checkpoints; "
            "leave it out, or name the run"
        )
    if policy != EMBEDDED and path.is_dir():
        above = run_of_policy(path.resolve())
        recipe = Recipe(trust_remote_code=trust_remote_code)
        label = path.resolve().name
        if above is not None:
            recipe = load_run_recipe(above.recipe, [], trusted=trust_remote_code)
            label = f"{above.path.name}-{label}"
        return Target(_of(recipe, path), label, above)
    recipe = Recipe(policy=policy, trust_remote_code=trust_remote_code)
    return Target(recipe, file_name(policy))


def _of(recipe: Recipe, folder: Path) -> Recipe:
    return recipe.model_copy(update={"policy": str(folder)})


def _checkpoint(run: RunFolder, recipe: Recipe, wanted: str) -> tuple[Path, str]:
    """(folder, name) of a policy of the run."""
    found = policies_by_step(run, recipe)
    if wanted == "last" and not found and (run.warm_start / "config.json").is_file():
        return run.warm_start, run.warm_start.name
    if not found:
        raise InputError(f"{run.path}: the run has no checkpoint yet")
    step = str(
        max(found)
        if wanted == "last"
        else best_of(run, recipe, found)
        if wanted == "best"
        else wanted
    )
    for each, folder in found.items():
        if step == str(each):
            return folder, f"checkpoint-{step}"
    known = ", ".join(map(str, found))
    raise InputError(f"{run.path}: no checkpoint {step}; use last, best or one of {known}")

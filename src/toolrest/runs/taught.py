"""Whether a policy of another run was trained on rows that a run is evaluated on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.foreign import user_path
from toolrest.recipe import EMBEDDED, Recipe, load_run_recipe
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import UNKNOWN, data_origins, read_origins

_MOST = 8
"""Runs that are gone back: a policy of a run of a policy of a run."""


def run_of_policy(folder: Path) -> RunFolder | None:
    """The run that a folder is a checkpoint or a warm start of; None: of none.

    TRL's are `checkpoints/checkpoint-N`, verl's `checkpoints/global_step_N/actor/huggingface`.
    """
    above = [RunFolder(each) for each in list(folder.parents)[:4]]
    return next((run for run in above if run.recipe.is_file()), None)


def find_taught_rows(recipe: Recipe) -> str | None:
    """What to tell a user whose policy comes from a run that was trained on rows of the same bytes
    as those that this one is evaluated on. None where nothing is known of such rows.

    Rows are held out by the seed, the data's settings and the limit of a prompt's tokens: where any
    of these differs, other rows are.
    """
    if not recipe.evaluation.samples:
        return None
    evaluated = recipe.evaluation_sources or recipe.sources
    if not evaluated or (not recipe.evaluation_sources and not recipe.data.heldout_fraction):
        return None
    earlier = list(_earlier(recipe))
    if not earlier:
        return None
    hashes = data_origins(evaluated)
    for run, its in earlier:
        known = read_origins(run.data)
        trained = {known.get(f"data {source.path}") for source in its.sources} - {None, UNKNOWN}
        shared = [name for name, value in hashes.items() if value in trained]
        if shared and not _same_split(recipe, its):
            return (
                f"the policy is of the run {run.path.name}, which was trained on rows of "
                f"{shared[0].removeprefix('data ')} that this run is evaluated on, so its held-out "
                f"figures say too much; use rows of their own (evaluation.path), or "
                f"seed={its.seed} and the data settings of that run"
            )
    return None


def _earlier(recipe: Recipe) -> Iterator[tuple[RunFolder, Recipe]]:
    """The runs that a recipe's policy has been through, the last one first."""
    for _ in range(_MOST):
        if recipe.policy == EMBEDDED:
            return
        folder = user_path(recipe.policy, recipe.policy)
        run = run_of_policy(folder.resolve()) if folder.is_dir() else None
        if run is None:
            return
        try:
            recipe = load_run_recipe(run.recipe, [], trusted=False)
        except InputError:
            return
        yield run, recipe


def _same_split(now: Recipe, before: Recipe) -> bool:
    """Whether both hold out the same rows of the same files."""
    both = [
        (each.seed, each.data.model_dump(exclude={"path"}), bool(each.evaluation.samples))
        for each in (now, before)
    ]
    own = now.evaluation_sources or before.evaluation_sources
    return not own and both[0] == both[1]

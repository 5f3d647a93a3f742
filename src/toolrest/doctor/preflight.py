"""What is looked at before anything is spent: before torch is imported where that can be, before a
model is loaded, and before a run has a folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import AUTO
from toolrest.data.rows import BadRow, Row, iterate_rows
from toolrest.data.sources import Read, Source, bad_row, read_rows
from toolrest.engines.common.ranks import started_ranks
from toolrest.engines.trl.processes import accelerate_config
from toolrest.environments.source import check_source, find_source
from toolrest.errors import InputError
from toolrest.io.hub import is_hub_name, why_absent, why_unreachable
from toolrest.policy.folder import policy_folder, policy_path
from toolrest.recipe import Recipe
from toolrest.recipe.extras import check_extras
from toolrest.recipe.reward_file import check_reward_file, reads_environments
from toolrest.runs.checkpoints import checkpoint_step
from toolrest.runs.claims import check_free, check_writable, existing
from toolrest.runs.folder import RUNS, RunFolder
from toolrest.runs.going_on import resumable_checkpoint

if TYPE_CHECKING:
    from toolrest.policy.disk import OnDisk

ROWS = 64
"""Rows of each source that are looked at."""


@dataclass(frozen=True)
class Place:
    """Where what a recipe trains is kept."""

    folder: Path = RUNS
    """The folder that is written in; it need not exist."""
    otherwise: str = "run toolrest in another folder"
    """What a user can do where it cannot be written."""
    run: RunFolder | None = None
    """The run that goes on there, if one does."""
    runs: int = 1
    """How many are kept there; 0: the room on the disk is left to each run, as by a comparison that
    goes on.
    """


NEW = Place()
"""Of a run that begins."""


def preflight(recipe: Recipe, *, name: str | None = None, place: Place = NEW) -> None:
    """Check everything that a run needs and that can be seen without loading its policy.

    Args:
        name: the new run's, where the user gave one.
        place: where it is kept.

    Raises:
        InputError: the first thing that would stop the run.
    """
    if started_ranks() == 1:  # else the first process may have made the folder already
        check_free(name)
    for check in checks_of(place):
        check(recipe)


def checks_of(place: Place = NEW) -> tuple[Callable[[Recipe], None], ...]:
    """The checks of a recipe, in their order; those that import torch come last."""

    def check_place(recipe: Recipe) -> None:
        check_writable(place.folder, place.otherwise)

    first = (check_place, _check_processes, check_extras, _check_reward, _check_environment)
    last = (partial(_check_disk, place),) if place.runs else ()
    middle = (_check_place_of_policy, _check_data, _check_benchmarks)
    middle += (_check_policy, _check_positions, _check_engine)
    return (*first, *middle, *last)


def _check_processes(recipe: Recipe) -> None:
    """Whether the processes that a launcher has started are those that the recipe asks for."""
    engine, count = recipe.engine, started_ranks()
    if engine.name == "verl":
        return
    accelerate_config(engine)
    if count not in (1, engine.processes * engine.nodes):
        raise InputError(
            f"engine.processes={engine.processes}, engine.nodes={engine.nodes}, but the launcher "
            f"has started {count} processes; say the same to both"
        )
    if engine.nodes > count:
        raise InputError(
            f"engine.nodes={engine.nodes}: TRL's processes have to be started on every machine "
            "(docs/scaling.md shows how); or use engine=verl"
        )


def _check_reward(recipe: Recipe) -> None:
    for named in recipe.reward.functions:
        check_reward_file(named)
        if not reads_environments(named):
            continue
        source = recipe.environment.source
        if source is None:
            raise InputError(
                f"reward.function={named} reads `environments`, but there is no environment; give "
                "environment.source"
            )
        if len(recipe.reward.functions) > 1:
            raise InputError(
                f"reward.function={named} reads `environments`, where they are, as part of what "
                "they earn; give it alone"
            )
        if recipe.reward.weights is not None:
            raise InputError(
                f"reward.weights: {named} reads `environments` and is part of what they earn; "
                "leave the weights out, and weigh in the function"
            )
        find_source(source, named)


def _check_environment(recipe: Recipe) -> None:
    """Whether the environment is there; nothing of it is run."""
    if recipe.environment.source is not None:
        check_source(recipe.environment.source)


def _check_place_of_policy(recipe: Recipe) -> None:
    """Whether the policy is a folder with a checkpoint, or can be had from the hub."""
    if Path(policy_path(recipe)).is_dir():
        return
    absent = why_absent(recipe.policy)
    if absent is not None:
        raise InputError(f"policy={'; '.join(absent)}")


def _check_data(recipe: Recipe) -> None:
    """Whether the first rows of every source can be read."""
    for source in recipe.sources:
        if is_hub_name(source.path):
            check_reachable(source)
            continue
        if recipe.environment.source is not None:
            first_episodes(source)
        if not recipe.acts or recipe.reward.by_turns:
            usable_rows(source, recipe)
    for source in recipe.evaluation_sources:
        if is_hub_name(source.path):
            check_reachable(source)
        elif recipe.environment.source is not None:
            first_episodes(source)
        else:
            usable_rows(source, recipe)


def _check_benchmarks(recipe: Recipe) -> None:
    """Whether the questions of the benchmarks are here that the policy is asked on the way."""
    if recipe.evaluation.benchmarks:
        from toolrest.evaluate.in_training import check_benchmarks

        check_benchmarks(recipe)


def first_episodes(source: Source) -> list[dict[str, Any]]:
    """The first rows of a source, each of which an episode begins with, as they are.

    Raises:
        InputError: one of them cannot be read, or the source cannot be.
    """
    check_reachable(source)
    found = []
    for number, row in islice(iterate_rows(source.path), ROWS):
        if isinstance(row, BadRow):
            raise InputError(f"data {source.path}: row {number} cannot be read: {row}")
        found.append(dict(row))
    return found


def usable_rows(
    source: Source, recipe: Recipe, rows: Iterable[tuple[int, Row]] | None = None
) -> list[Read]:
    """The first rows of a source; see `first_rows`.

    Raises:
        InputError: one of them cannot be used, or the source cannot be read.
    """
    reads = first_rows(source, recipe, rows)
    for read in reads:
        if read.bad is not None:
            rendering = None if recipe.dialect == AUTO else recipe.rendering
            raise InputError(bad_row(source.path, read, rendering, recipe.policy))
    return reads


def check_reachable(source: Source) -> None:
    """Check that the hub can be asked for a source that is no file.

    Raises:
        InputError: it cannot.
    """
    why = why_unreachable() if is_hub_name(source.path) else None
    if why is not None:
        raise InputError(f"data {source.path}: there is no such file, and for the hub {why}")


def first_rows(
    source: Source, recipe: Recipe, rows: Iterable[tuple[int, Row]] | None = None
) -> list[Read]:
    """The first rows of a source, read as training reads them; with `dialect=auto`, which the
    policy's chat template settles, only their format is looked at.

    Args:
        rows: the first of them, where they are here already; None: they are read.

    Raises:
        InputError: it cannot be read, or its format is not known.
    """
    if rows is None:
        check_reachable(source)
    rendering = None if recipe.dialect == AUTO else recipe.rendering
    reads = read_rows(replace(source, take=None), rendering, recipe.seed, rows)
    return list(islice(reads, ROWS))


def _check_policy(recipe: Recipe) -> None:
    """Whether the files of a policy in a folder are those of one."""
    if Path(policy_path(recipe)).is_dir():
        policy_folder(recipe)


def _check_positions(recipe: Recipe) -> None:
    """Whether a policy that is here takes as many tokens as an episode may have."""
    if recipe.environment.source is None or not Path(policy_path(recipe)).is_dir():
        return
    from toolrest.policy.sizing import find_positions

    episode = recipe.environment.max_trajectory_tokens
    positions, longest = find_positions(recipe), recipe.data.max_prompt_tokens + episode
    if positions is not None and longest > positions:
        raise InputError(
            f"data.max_prompt_tokens={recipe.data.max_prompt_tokens} and "
            f"environment.max_trajectory_tokens={episode} are {longest} tokens, "
            f"but the policy takes {positions}; lower one of them"
        )


def _check_engine(recipe: Recipe) -> None:
    """What the engine and its sampler need of this machine."""
    if recipe.engine.name == "verl":
        from toolrest.engines.verl.checks import check_recipe
        from toolrest.engines.verl.launch import check_machine

        check_recipe(recipe)
        check_machine()
        return
    from toolrest.core.weights import get_scheme

    get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    if recipe.rollout.sampler == "vllm":
        from toolrest.rollout.sampler import check_vllm

        check_vllm(recipe)


def _check_disk(place: Place, recipe: Recipe) -> None:
    from toolrest.policy.disk import refuse_disk

    there = None if place.run is None else _on_disk(recipe, place.run)
    free = shutil.disk_usage(existing(place.folder)).free
    refuse_disk(recipe, free, there, f"{place.otherwise} on a larger disk", place.runs)


def _on_disk(recipe: Recipe, run: RunFolder) -> OnDisk:
    """What a run that goes on has of its policy already."""
    from toolrest.policy.disk import OnDisk

    if recipe.engine.name == "verl":
        from toolrest.engines.verl.launch import last_step

        steps = last_step(run.checkpoints) * recipe.steps_per_generation
        return OnDisk(steps, len(list(run.checkpoints.glob("global_step_*"))))
    last = resumable_checkpoint(run, recipe)
    steps = 0 if last is None else checkpoint_step(last)
    return OnDisk(steps, len(run.whole_checkpoints()), run.warm_start.is_dir())

"""Checks whether the runs of a comparison have the same data, policy and machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from toolrest.core.dialects import AUTO
from toolrest.errors import InputError, short, short_list
from toolrest.estimate.settings import KEYS
from toolrest.experiments.methods import apply_method, measured_otherwise
from toolrest.experiments.plan import CompareFolder, Plan, flat
from toolrest.io.objects import object_or_none
from toolrest.recipe import load_recipe, may_change
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import (
    RECIPE,
    ROWS,
    TEMPLATE,
    accepted_changes,
    differences,
    file_origins,
    read_origins,
)
from toolrest.runs.reproducibility import environment_differences

_WORKED_OUT = frozenset(("dialect", "data.prompt", "data.think", *KEYS))
"""What a run works out where its recipe leaves it open."""
_OF_THE_METHOD = (RECIPE, ROWS, TEMPLATE)
"""What seeds and template options change, as the plan says."""


def check_unchanged(folder: CompareFolder, plan: Plan) -> None:
    """The recipes of the runs that are there are the plan's, and the data, policies and reward
    functions are those that they began with.

    Raises:
        InputError: one is another, or has changed since.
    """
    for said in _other_recipes(folder, plan):
        raise InputError(f"{folder.path}: its run {said}; use another --out, or take that run away")
    for method in plan.methods:
        runs = [run for run in _runs(folder, plan, method.name) if read_origins(run.data)]
        if not runs:
            continue
        now = file_origins(apply_method(plan.recipe, method))
        for run in runs:
            if changed := differences(_comparable(run), now):
                raise InputError(
                    f"{folder.path}: since its run {run.path.name} began, {short_list(changed)}; "
                    "put back what was there, or use another --out"
                )


def differing(folder: CompareFolder, plan: Plan) -> list[str]:
    """Differences of the finished runs other than methods and seeds, a line each."""
    runs = [
        run
        for method in plan.methods
        for run in _runs(folder, plan, method.name)
        if run.summary.is_file()
    ]
    said = [
        *_other_recipes(folder, plan),
        *measured_otherwise(plan.recipe, plan.methods, plan.baseline),
    ]
    hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for run in runs:
        for name, value in _comparable(run).items():
            hashes[name].setdefault(value, run.path.name)
    said += [
        f"{name} is not the same in {' and '.join(list(found.values())[:2])}"
        for name, found in hashes.items()
        if len(found) > 1
    ]
    read = ((run, object_or_none(run.environment)) for run in runs)
    kept = [(run, environment) for run, environment in read if environment is not None]
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for run, environment in kept[1:]:
        first, before = kept[0]
        found = environment_differences(before, environment, f"is in {first.path.name}", "in this")
        if found:
            alike[short_list(found)].append(run.path.name)
    said += [f"{short_list(names)}: {found}" for found, names in alike.items()]
    said += [
        f"{run.path.name} was gone on with elsewhere or otherwise ({run.environment})"
        for run, environment in kept
        if environment.get("resumed")
    ]
    said += [
        f"{run.path.name} was gone on with although data or policy had changed ({run.data})"
        for run in runs
        if accepted_changes(run.data)
    ]
    unknown = [run.path.name for run in runs if not read_origins(run.data)]
    if unknown:
        said.append(f"no hashes of data and policy were kept in {short_list(unknown)}")
    return said


def _other_recipes(folder: CompareFolder, plan: Plan) -> Iterator[str]:
    """The runs whose recipes are not the plan's, and the first key that tells.

    What the plan leaves to the policy and its data, each run has worked out; how a run is computed
    may have changed when it was gone on with.
    """
    for method in plan.methods:
        recipe = flat(apply_method(plan.recipe, method).model_dump(mode="json"))
        for seed in plan.seeds:
            run = folder.run(method.name, seed)
            if not run.recipe.is_file():
                continue
            planned = recipe | {"seed": seed}
            own = flat(load_recipe(run.recipe, []).model_dump(mode="json"))
            for key in planned | own:
                here, there = planned.get(key), own.get(key)
                left = key in _WORKED_OUT and here in (None, AUTO)
                if here != there and key != "name" and not (left or may_change(key)):
                    yield f"{run.path.name} has {key}={short(there)}, and the plan {short(here)}"
                    break


def _runs(folder: CompareFolder, plan: Plan, method: str) -> list[RunFolder]:
    return [folder.run(method, seed) for seed in plan.seeds]


def _comparable(run: RunFolder) -> dict[str, str]:
    found = read_origins(run.data)
    return {name: value for name, value in found.items() if name not in _OF_THE_METHOD}

"""The plan of a comparison (recipe, methods, seeds) and its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from toolrest.errors import InputError, short
from toolrest.experiments.grid import Grid
from toolrest.experiments.methods import (
    Method,
    apply_method,
    check_measured_alike,
    check_methods,
)
from toolrest.io.files import read_text, write_whole
from toolrest.io.plain_yaml import plain_values
from toolrest.recipe import Recipe, changed, dump_recipe, names_code, parse_recipe, says
from toolrest.runs.folder import RunFolder
from toolrest.runs.taught import find_taught_rows

_BROKEN = (
    *(yaml.YAMLError, InputError, OSError),
    *(KeyError, TypeError, AttributeError, ValueError),
)


_JUDGED = ("collapse.", "evaluation.every", "evaluation.samples")
"""How the keys begin that say when a run has collapsed."""


@dataclass(frozen=True)
class Plan:
    """Methods times seeds of one recipe."""

    recipe: Recipe
    """What all methods share."""
    methods: tuple[Method, ...]
    """How they differ."""
    seeds: tuple[int, ...]
    """Each gives every method the same data order and the same sampling numbers."""
    baseline: str
    """The method that the others are compared with."""
    threads: int
    """Of each run; results are the same to the bit only with the same number."""
    grid: Grid | None = None
    """The methods and learning rates whose product `methods` is, and which `baseline` is one of;
    None: the comparison is not of stability."""

    def cells(self) -> list[tuple[str, int]]:
        """(method, seed), seed by seed, so that pairs are whole early."""
        return [(method.name, seed) for seed in self.seeds for method in self.methods]


@dataclass(frozen=True)
class CompareFolder:
    """A comparison's folder and the files in it."""

    path: Path
    """The folder itself."""

    @property
    def plan(self) -> Path:
        """The plan."""
        return self.path / "compare.yaml"

    @property
    def lock(self) -> Path:
        """The lock of the process that works here."""
        return self.path / "compare.lock"

    def recipe(self, method: str) -> Path:
        """A method's recipe."""
        return self.path / "recipes" / f"{method}.yaml"

    def run(self, method: str, seed: int) -> RunFolder:
        """A cell's run."""
        return RunFolder(self.path / "runs" / cell_name(method, seed))

    def log(self, method: str, seed: int) -> Path:
        """The output of a cell's process."""
        return self.path / "logs" / f"{cell_name(method, seed)}.log"


def cell_name(method: str, seed: int) -> str:
    """The name of a cell's run."""
    return f"{method}-seed{seed}"


def read_seeds(written: str) -> tuple[int, ...]:
    """`8` is the seeds 0 to 7, `3,5` is 3 and 5.

    Raises:
        InputError: anything else.
    """
    try:
        numbers = [int(part) for part in written.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in written and len(numbers) == 1:
        numbers = list(range(numbers[0]))
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise InputError(f"--seeds {written}: give a number of seeds, or different ones: 0,1,5")
    return tuple(numbers)


def make_plan(
    recipe: Recipe, methods: Sequence[Method], seeds: Sequence[int], baseline: str, threads: int
) -> Plan:
    """A plan whose methods were checked.

    Raises:
        InputError: a method that does not fit the recipe, or a baseline that is none of them.
    """
    _check_baseline(baseline, methods)
    shared = _shared(recipe)
    check_methods(shared, methods)
    check_measured_alike(shared, methods)
    return Plan(shared, tuple(methods), tuple(seeds), baseline, threads)


def make_stability_plan(
    recipe: Recipe, grid: Grid, seeds: Sequence[int], baseline: str, threads: int
) -> Plan:
    """A plan of a grid's methods, whose runs end where they collapse.

    Raises:
        InputError: as `make_plan`, or nothing would show a collapse, or a method's would be another
            than the rest's.
    """
    _check_baseline(baseline, grid.methods)
    if says(recipe, "collapse.end") and not recipe.collapse.end:
        raise InputError(
            "collapse.end=false: with --stability runs end where they collapse; use "
            "collapse.end=true"
        )
    try:
        shared = _shared(changed(recipe, {"collapse.end": True}))
    except InputError as error:
        raise InputError(f"--stability sets collapse.end=true: {error}") from error
    methods = grid.expand()
    _check_judged_alike(shared, check_methods(shared, methods, stability=True))
    check_measured_alike(shared, methods)
    return Plan(shared, methods, tuple(seeds), baseline, threads, grid)


def with_baseline(plan: Plan, baseline: str | None) -> Plan:
    """The plan with another baseline; None: as it is.

    Raises:
        InputError: it is none of the methods.
    """
    if baseline is None:
        return plan
    _check_baseline(baseline, plan.methods if plan.grid is None else plan.grid.methods)
    return replace(plan, baseline=baseline)


def _check_baseline(baseline: str, methods: Sequence[Method]) -> None:
    names = [method.name for method in methods]
    if baseline not in names:
        raise InputError(f"--baseline {baseline}: not one of the methods {', '.join(names)}")


def _check_judged_alike(recipe: Recipe, methods: Mapping[str, Recipe]) -> None:
    """A collapse of each method, by its recipe, shows as that of the comparison's does.

    Raises:
        InputError: one does not.
    """
    shared = flat(recipe.model_dump(mode="json"))
    for name, made in methods.items():
        for key, value in flat(made.model_dump(mode="json")).items():
            if key.startswith(_JUDGED) and value != shared.get(key):
                raise InputError(
                    f"method {name}: it has {key}={json.dumps(value)}, and the comparison "
                    f"{json.dumps(shared.get(key))}: a collapse would show otherwise than in other "
                    "methods; give it to all of them, outside --methods"
                )


def _shared(recipe: Recipe) -> Recipe:
    """What all runs share, checked."""
    return parse_recipe(recipe.model_dump(mode="json") | {"name": None, "seed": 0}, "the recipe")


def keep_plan(folder: CompareFolder, plan: Plan) -> Plan:
    """Write the plan, or check that it fits the one in the folder.

    Methods and seeds may be added; those of before stay in the tables.

    Returns:
        The plan with the methods and seeds of both, and the threads of before.

    Raises:
        InputError: the recipe or a method differs, by key.
    """
    if folder.plan.is_file():
        before = load_plan(folder)
        _check_same(folder, before, plan)
        known = {method.name for method in before.methods}
        methods = (*before.methods, *(m for m in plan.methods if m.name not in known))
        seeds = (*before.seeds, *(seed for seed in plan.seeds if seed not in before.seeds))
        grid = plan.grid
        if grid is not None and before.grid is not None:
            grid = before.grid.joined(grid)
            methods = grid.expand()
        plan = Plan(plan.recipe, methods, seeds, plan.baseline, before.threads, grid)
    folder.path.mkdir(parents=True, exist_ok=True)
    stability = plan.grid is not None
    for name, recipe in check_methods(plan.recipe, plan.methods, stability=stability).items():
        folder.recipe(name).parent.mkdir(exist_ok=True)
        write_whole(folder.recipe(name), dump_recipe(recipe))
    values = {
        "methods": {method.name: list(method.overrides) for method in plan.methods},
        "seeds": list(plan.seeds),
        "baseline": plan.baseline,
        "threads": plan.threads,
        "recipe": plan.recipe.model_dump(mode="json"),
    }
    if plan.grid is not None:
        values["stability"] = plan.grid.to_dict()
    write_whole(folder.plan, yaml.safe_dump(values, sort_keys=False))
    return plan


def plan_taught_rows(plan: Plan) -> str | None:
    """What `find_taught_rows` tells of a seed of the plan; each holds out other rows."""
    seeded = (plan.recipe.model_copy(update={"seed": seed}) for seed in plan.seeds)
    return next(filter(None, map(find_taught_rows, seeded)), None)


def check_kept_methods(recipe: Recipe, methods: Sequence[Method], folder: CompareFolder) -> None:
    """Methods that a folder adds to those of the command name no code that the recipe does not.

    Raises:
        InputError: one does.
    """
    own = names_code(recipe)
    for method in methods:
        for key, value in names_code(apply_method(recipe, method)).items():
            if own.get(key) != value:
                raise InputError(
                    f"{folder.plan}: its method {short(method.name)} has {key}={short(value)}, "
                    "which runs code; name the method in --methods if it is yours, or use another "
                    "--out"
                )


def load_plan(folder: CompareFolder) -> Plan:
    """The plan of a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        values = plain_values(read_text(folder.plan), str(folder.plan))
        return Plan(
            recipe=parse_recipe(values["recipe"], str(folder.plan)),
            methods=tuple(Method(n, tuple(o)) for n, o in values["methods"].items()),
            seeds=tuple(map(_whole, values["seeds"])),
            baseline=str(values["baseline"]),
            threads=_whole(values["threads"]),
            grid=Grid.of(values["stability"]) if "stability" in values else None,
        )
    except FileNotFoundError:
        raise InputError(f"{folder.path}: no comparison is there (no compare.yaml)") from None
    except _BROKEN as error:
        raise InputError(f"{folder.plan}: not the plan of a comparison ({error})") from error


def _whole(value: Any) -> int:
    """A seed, which is part of a folder's name, or a number of threads.

    Raises:
        TypeError: it is no whole number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{short(value)} is not a whole number")
    return value


def check_kind(folder: CompareFolder, before: Plan, *, stability: bool) -> None:
    """A comparison goes on as it began, with or without learning rates.

    Raises:
        InputError: it does not.
    """
    if (before.grid is not None) != stability:
        there, here = ("without", "with") if stability else ("with", "without")
        raise InputError(
            f"{folder.path}: its comparison is one {there} --stability, and this one is {here}; "
            "use another --out"
        )


def _check_same(folder: CompareFolder, before: Plan, now: Plan) -> None:
    old, new = (flat(plan.recipe.model_dump(mode="json")) for plan in (before, now))
    unset = "not set"
    differing = [key for key in old | new if old.get(key, unset) != new.get(key, unset)]
    if differing:
        key = differing[0]
        raise InputError(
            f"{folder.path}: its runs have {key}={old.get(key, unset)!r}, now it is "
            f"{new.get(key, unset)!r}; use another --out, or the same recipe"
        )
    overrides = {method.name: method.overrides for method in before.methods}
    for method in now.methods:
        if overrides.get(method.name, method.overrides) != method.overrides:
            raise InputError(
                f"{folder.path}: its method {method.name} is {' '.join(overrides[method.name])}, "
                f"now it is {' '.join(method.overrides)}; use another --out or another name"
            )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by keys such as `rollout.group_size`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found

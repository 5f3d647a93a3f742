"""Benchmarks of `toolrest evaluate` on a policy that is being trained, in its own process."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.dialects import get_dialect
from toolrest.engines.common.job import Job, Result
from toolrest.errors import InputError, counted
from toolrest.evaluate import apibank
from toolrest.evaluate.asked import Asked, ask, open_official
from toolrest.evaluate.backends.hf import ModelBackend
from toolrest.evaluate.bfcl.categories import choose
from toolrest.evaluate.options import Options
from toolrest.evaluate.results import RESULT, summarise, write_results
from toolrest.evaluate.run_episodes import AnswersInMemory, run_episodes
from toolrest.evaluate.settings import dialect_and_style
from toolrest.evaluate.target import Target
from toolrest.io.files import write_json
from toolrest.io.foreign import user_path
from toolrest.io.objects import read_object
from toolrest.recipe import Recipe
from toolrest.runs.environment import describe_environment
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import UNKNOWN
from toolrest.runs.reproducibility import record_environment

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_benchmarks(recipe: Recipe) -> None:
    """Check that the questions of a recipe's benchmarks are here; no policy is loaded.

    Raises:
        InputError: bfcl-eval is not installed, a category is not known, or API-Bank's files cannot
            be read.
    """
    for name in recipe.evaluation.benchmarks:
        options = benchmark_options(recipe, name)
        if name == "bfcl":
            with open_official(options) as official:
                try:
                    choose(options.categories, official.release)
                except InputError as error:
                    raise InputError(f"evaluation.bfcl_categories: {error}") from error
        if options.data is not None:
            _check_apibank(options.data)


def _check_apibank(folder: Path) -> None:
    files = list(apibank.LEVELS.values())
    missing = next((name for name in files if not (folder / name).is_file()), None)
    if missing is not None:
        raise InputError(
            f"evaluation.apibank={folder}: there is no {missing}; the folder must hold "
            f"{', '.join(files)}"
        )
    for level in apibank.LEVELS:
        apibank.episodes(folder, level, get_dialect("rlla"))


def check_wording(recipe: Recipe, run: RunFolder) -> None:
    """Check that a recipe's benchmarks can be put to its policy.

    Args:
        recipe: fitted to the chat template.

    Raises:
        InputError: one asks for another dialect.
    """
    for name in recipe.evaluation.benchmarks:
        dialect_and_style(_target(recipe, run), benchmark_options(recipe, name))


def benchmark_options(recipe: Recipe, name: str) -> Options:
    """What `toolrest evaluate` would be told of one of a recipe's benchmarks."""
    asked = recipe.evaluation
    folder = None
    if name == "apibank" and asked.apibank is not None:
        folder = user_path(asked.apibank, "evaluation.apibank")
    return Options(
        benchmark=name,
        categories=asked.bfcl_categories if name == "bfcl" else (),
        limit=asked.benchmark_items,
        data=folder,
        batch_size=min(Options.batch_size, asked.batch_size),
        dtype="float32",  # as parameters are while they are trained
    )


def evaluate_benchmarks(model: PreTrainedModel, job: Job, when: str, step: int) -> Result:
    """Evaluate a policy on its recipe's benchmarks, each into a folder of its own.

    A folder that is there already is of an evaluation that was finished, and is read. The job's
    processes share the items, and each gets the whole result.

    Args:
        when: `before`, `warm_start`, or anything else, for which the folder is named by the step.
        step: the optimiser steps done.

    Returns:
        The share of right answers by benchmark and category, as in `bfcl/live_simple`, over all
        where that is a figure of the benchmark (`world/all`), and BFCL's means where they are of
        whole categories.

    Raises:
        InputError: a benchmark cannot be asked, or a result that was written cannot be read.
    """
    found: Result = {}
    for name in job.recipe.evaluation.benchmarks:
        label = when if when in ("before", "warm_start") else f"step-{step:06d}"
        folder = job.run.evaluation / f"{name}-{label}"
        if not job.ranks.first((folder / RESULT).is_file):
            _evaluate(model, job, name, step, folder)
        found |= _shares(name, job.ranks.first(lambda folder=folder: _read(folder / RESULT)))
    return found


def _target(recipe: Recipe, run: RunFolder) -> Target:
    return Target(recipe, run.path.name, run)


def _evaluate(model: PreTrainedModel, job: Job, name: str, step: int, folder: Path) -> None:
    recipe, ranks = job.recipe, job.ranks
    options = benchmark_options(recipe, name)
    with ExitStack() as closing:
        asked = ask(_target(recipe, job.run), options, closing, UNKNOWN)
        limit = asked.settings["max_tokens"]
        items = len(asked.episodes)
        job.view.stage(f"evaluating on {name}, {counted(items, 'item')}", items)
        done = 0

        def count(outcome: object) -> None:
            nonlocal done
            done += 1
            job.view.advance(min(items, ranks.count * done))

        backend = ModelBackend(
            model, job.tokenizer, get_dialect(asked.dialect), limit, options.batch_size
        )
        mine = asked.episodes[ranks.index :: ranks.count]
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # training draws as if nothing had been asked
            outcomes = run_episodes(mine, backend, AnswersInMemory(), count)
        parts = ranks.each({outcome.identity: outcome for outcome in outcomes})
        every = {identity: each for part in parts for identity, each in part.items()}
        ordered = [every[episode.identity] for episode in asked.episodes]
        if ranks.main:
            settings = asked.settings | {"steps": step}
            result = _result(asked, options, settings)
            _write(
                folder, settings, result | summarise(ordered, asked.whole, asked.release), ordered
            )
        ranks.wait()


def _result(asked: Asked, options: Options, settings: dict[str, Any]) -> dict[str, Any]:
    """What result.json has besides the figures."""
    scored = describe_environment(0)
    return {
        "settings": settings,
        "asked": {"limit": options.limit, "categories": list(options.categories)},
        "scored_by": {"versions": scored["versions"], "commit": scored["commit"]},
        "max_tokens": {"value": settings["max_tokens"], "from": asked.limited_by},
    }


def _write(folder: Path, settings: dict[str, Any], result: dict[str, Any], outcomes: Any) -> None:
    """Write an evaluation's folder, whole or not at all."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_json(part / "settings.json", settings)
    record_environment(part / "environment.json", 0, 1)
    write_results(part, result, outcomes)
    part.replace(folder)


def _read(path: Path) -> dict[str, Any]:
    """A result that was written.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found = read_object(path)
        _shares("", found)
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); take its folder out, and it is evaluated again"
        ) from error


def _shares(name: str, result: dict[str, Any]) -> Result:
    """The shares of right answers of a result.json, by `NAME/CATEGORY`."""
    shares = {part: each["accuracy"] for part, each in result["categories"].items()}
    if "accuracy" in result["all"]:
        shares["all"] = result["all"]["accuracy"]
    shares |= {mean: each["value"] for mean, each in (result.get("means") or {}).items()}
    return {f"{name}/{part}": float(value) for part, value in shares.items()}

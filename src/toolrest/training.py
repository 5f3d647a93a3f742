"""The whole training job: data, the engine's part, summary."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from toolrest.engines.common.data import (
    Samples,
    check_origins,
    report_data,
)
from toolrest.engines.common.job import Engine, Job, View
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.engines.common.reading import Rows, read_rows
from toolrest.engines.common.run_rows import run_samples
from toolrest.engines.trl.job import TrlEngine
from toolrest.engines.verl.job import VerlEngine
from toolrest.estimate.epochs import settle_epochs
from toolrest.estimate.settings import Lengths
from toolrest.evaluate.of_run import RunEvaluation
from toolrest.io.files import write_json, write_whole
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.sizing import count_tokens, is_sized, refuse_memory, say_time, size_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe, dump_recipe
from toolrest.recipe.unused import unused_note
from toolrest.runs.environment import begin_run
from toolrest.runs.folder import RunFolder
from toolrest.runs.taught import find_taught_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ENGINES: dict[str, Engine] = {"trl": TrlEngine(), "verl": VerlEngine()}


def run_training(
    recipe: Recipe,
    run: RunFolder,
    view: View,
    *,
    resume: bool,
    ranks: Ranks = ALONE,
    accept_changed_data: bool = False,
) -> dict[str, Any]:
    """Do the job of a recipe in a run's folder.

    Args:
        resume: go on from the run's last checkpoint.
        accept_changed_data: go on also where data, policy or reward are not what the run began
            with; the run keeps that.
        ranks: the processes that do it together; each of them calls this.

    Returns:
        What summary.json holds.

    Raises:
        InputError: something given cannot be used.
        Interrupted: the user asked to stop.
    """
    started = time.monotonic()
    engine = _ENGINES[recipe.engine.name]
    unused = unused_note(recipe)
    notes = [*([] if unused is None else [unused]), *engine.check(recipe, run)]
    tokenizer = load_tokenizer(recipe)
    recipe, fitted = fit_recipe(recipe, tokenizer)
    rows = None if recipe.acts else _read(recipe, tokenizer, view, ranks)
    sources = None if rows is None else rows.sources
    recipe, settings = ranks.first(partial(size_recipe, recipe, tokenizer, sources=sources))
    samples = run_samples(recipe, tokenizer, rows)
    recipe, length = settle_epochs(recipe, len(samples.train))
    settings = (*settings, *length)
    origin = ranks.first(
        lambda: check_origins(recipe, tokenizer, samples, run, accept_changed_data)
    )
    taught = find_taught_rows(recipe) if ranks.main else None
    for note in (*notes, *fitted, *map(str, settings)) if ranks.main else ():
        view.note(note)
    if taught is not None:
        view.warn(taught)
    if not resume or settings:
        ranks.first(partial(_look_ahead, recipe, samples, tokenizer, view))
    first = ranks.first(partial(engine.first_step, recipe, run)) if resume else 0
    job = Job(recipe, run, view, tokenizer, samples, origin, ranks, resume, first)
    if ranks.main:
        written = dump_recipe(recipe, {each.key: each.why for each in settings})
        begin_run(run, written, recipe.seed)
        if not resume or dump_recipe(recipe, said=True) != dump_recipe(recipe):
            write_whole(run.recipe, written)  # a starter of processes wrote what was said alone
        for note in report_data(samples, len(job.heldout), run, origin):
            view.note(note)
    with job.episodes or nullcontext():
        outcome = engine.train(job, RunEvaluation(job))
    rl = recipe.method == "rl"
    summary = {
        "before": outcome.before,
        "after": outcome.after,
        "steps": outcome.steps,
        "seconds": round(time.monotonic() - started, 1),
        "scheme": recipe.weighting.scheme if rl else recipe.method,
        "seed": recipe.seed,
    } | origin.summary
    if outcome.ended is not None:
        summary["ended_early"] = outcome.ended
    if outcome.best is not None:
        summary["best"] = outcome.best
    if ranks.main:
        write_json(run.summary, summary)
    return summary


def steps_done(recipe: Recipe, run: RunFolder) -> int:
    """The optimiser steps done in the checkpoint that a run would go on from."""
    return _ENGINES[recipe.engine.name].first_step(recipe, run)


def _read(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, view: View, ranks: Ranks) -> Rows:
    """The rows, by the first process; the others take what it has kept."""
    if ranks.main and recipe.sources:
        view.stage("reading the rows")
    read: list[Rows] = []

    def first() -> None:
        read.append(read_rows(recipe, tokenizer, view.advance))

    ranks.first(first)
    return read[0] if read else read_rows(recipe, tokenizer)


def _look_ahead(
    recipe: Recipe, samples: Samples, tokenizer: PreTrainedTokenizerBase, view: View
) -> None:
    """Refuse what memory is not there for, and say how long the run will take."""
    if is_sized(recipe):
        lengths = Lengths() if recipe.acts else count_tokens(samples.train, tokenizer, recipe)
        refuse_memory(recipe, max(lengths.prompts, default=None))
        if (line := say_time(recipe, lengths, len(samples.heldout))) is not None:
            view.note(line)

"""The whole job of a run with the verl engine: rows, verl's processes, metrics, summary."""

from __future__ import annotations

import time
from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.engines.common.monitor import Watch
from toolrest.engines.verl.launch import check_machine, last_step, train_with_verl
from toolrest.engines.verl.overrides import run_paths, verl_notes, verl_overrides, writes_out
from toolrest.engines.verl.rows import write_rows
from toolrest.errors import InputError
from toolrest.io.files import append_json, whole_lines
from toolrest.io.foreign import parse_object
from toolrest.policy.finite import check_finite_files
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.folder import policy_folder, whole_folder
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe, dump_recipe
from toolrest.runs.folder import RunFolder, begin_run, write_json
from toolrest.training import Interrupted, View, check_origins, load_samples, report_data


def run_verl_training(
    recipe: Recipe,
    run: RunFolder,
    view: View,
    *,
    resume: bool,
    accept_changed_data: bool = False,
) -> dict[str, Any]:
    """Do the job of a recipe in a run's folder. verl evaluates by itself, greedily, on the held-out
    rows.

    Args:
        resume: go on from verl's newest checkpoint.
        accept_changed_data: see `toolrest.training.run_training`.

    Returns:
        What summary.json holds.

    Raises:
        InputError: something given cannot be used, this machine lacks something, or verl failed.
        Interrupted: the user asked to stop.
    """
    started = time.monotonic()
    paths = run_paths(run.path, evaluated=recipe.evaluation.samples > 0)
    verl_overrides(recipe, run.path.name, paths)
    check_machine()
    tokenizer = load_tokenizer(recipe)
    check_finite_files(whole_folder(policy_folder(recipe), recipe))
    recipe, notes = fit_recipe(recipe, tokenizer)
    for note in (*notes, *verl_notes(recipe)):
        view.note(note)
    samples = load_samples(recipe, tokenizer)
    origin = check_origins(recipe, tokenizer, samples, run, accept_changed_data)
    heldout = samples.heldout[: recipe.evaluation.samples]
    begin_run(run, dump_recipe(recipe), recipe.seed)
    first = last_step(run.checkpoints) if resume else 0
    paths = run_paths(run.path, evaluated=bool(heldout), first=first)
    written_out = writes_out(recipe)
    dialect = get_dialect(recipe.dialect)
    write_rows(samples.train, paths.train, tokenizer, dialect, written_out=written_out)
    if paths.heldout is not None:
        write_rows(heldout, paths.heldout, tokenizer, dialect, written_out=written_out)
    done = first * recipe.steps_per_generation
    if resume:
        run.rewind(done)
        view.note(f"going on from step {done} of {recipe.max_steps}")
    report_data(samples, len(heldout), run, view, origin)
    watch = Watch(recipe, run, view.warn)
    watch.dropped(len(samples.dropped), samples.rows)
    watch.changed(done, origin.changed)
    view.stage("training with verl", recipe.max_steps)
    view.advance(done)

    def record(step: int, metrics: dict[str, Any]) -> None:
        append_json(run.metrics, {"step": step, **metrics})
        view.step(step, metrics)
        watch.read(step, {"step": step, **metrics})

    def evaluated(step: int, result: dict[str, Any]) -> None:
        run.evaluation.mkdir(exist_ok=True)
        append_json(run.curve, {"step": step, "n": len(heldout), **result})

    steps = train_with_verl(recipe, run.path.name, paths, record, evaluated)
    if steps < recipe.max_steps:
        raise Interrupted
    curve = _curve(run)
    summary = {
        "before": curve.get(0),
        "after": curve.get(steps),
        "steps": steps,
        "seconds": round(time.monotonic() - started, 1),
        "scheme": recipe.weighting.scheme,
        "seed": recipe.seed,
    } | origin.summary
    write_json(run.summary, summary)
    return summary


def _curve(run: RunFolder) -> dict[int, dict[str, Any]]:
    """The evaluations by optimiser step; a step that was evaluated again has the newer result."""
    if not run.curve.is_file():
        return {}
    try:
        points = [parse_object(line) for line in whole_lines(run.curve)]
        return {int(point.pop("step")): point for point in points}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{run.curve}: a broken line ({error}); take it out") from error

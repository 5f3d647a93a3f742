"""A run by the verl engine: rows, verl's processes, metrics."""

from __future__ import annotations

from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.engines.common.job import Evaluation, Interrupted, Job, Outcome, Result
from toolrest.engines.verl.checks import verl_notes
from toolrest.engines.verl.launch import check_machine, last_step, train_with_verl
from toolrest.engines.verl.overrides import run_paths, verl_overrides, writes_out
from toolrest.engines.verl.rows import write_episode_rows, write_rows
from toolrest.errors import InputError
from toolrest.io.files import append_json, whole_lines
from toolrest.io.foreign import parse_object
from toolrest.policy.finite import check_finite_files
from toolrest.policy.folder import policy_folder, whole_folder
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder


class VerlEngine:
    """`toolrest.engines.common.job.Engine` by verl, in processes of its own. verl evaluates by
    itself, greedily, on the held-out rows.
    """

    def check(self, recipe: Recipe, run: RunFolder) -> list[str]:
        """What is done otherwise than the paper does it.

        Raises:
            InputError: verl cannot do what the recipe asks for, or this machine lacks something.
        """
        paths = run_paths(run.path, evaluated=recipe.evaluation.samples > 0)
        verl_overrides(recipe, run.path.name, paths)
        check_machine()
        check_finite_files(whole_folder(policy_folder(recipe), recipe))
        return verl_notes(recipe)

    def first_step(self, recipe: Recipe, run: RunFolder) -> int:
        """The optimiser steps done in verl's newest checkpoint."""
        return last_step(run.checkpoints) * recipe.steps_per_generation

    def train(self, job: Job, evaluation: Evaluation) -> Outcome:
        """Train to the recipe's last step.

        Raises:
            InputError: verl failed, or trained without the weights.
            Interrupted: the user asked to stop.
        """
        recipe, run = job.recipe, job.run
        first = job.first // recipe.steps_per_generation
        paths = run_paths(run.path, evaluated=bool(job.heldout), first=first)
        dialect, written_out = get_dialect(recipe.dialect), writes_out(recipe)
        for rows, path in ((job.samples.train, paths.train), (job.heldout, paths.heldout)):
            if path is None:
                continue
            if job.episodes is not None:
                write_episode_rows(rows, path, heldout=path == paths.heldout)
            else:
                write_rows(rows, path, job.tokenizer, dialect, written_out=written_out)
        job.begin("training with verl")

        def evaluated(step: int, result: dict[str, Any]) -> None:
            run.evaluation.mkdir(exist_ok=True)
            count = len(job.heldout)
            if "failed" in result:
                result["failed"] = round(result["failed"] * count)
            append_json(run.curve, {"step": step, "n": count, **result})

        steps = train_with_verl(recipe, run.path.name, paths, job.record, evaluated)
        if steps < recipe.max_steps:
            raise Interrupted
        curve = _curve(run)
        return Outcome(curve.get(0), curve.get(steps), steps)


def _curve(run: RunFolder) -> dict[int, Result]:
    """The evaluations by optimiser step; a step that was evaluated again has the newer result."""
    if not run.curve.is_file():
        return {}
    try:
        points = [parse_object(line) for line in whole_lines(run.curve)]
        return {int(point.pop("step")): point for point in points}
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{run.curve}: a broken line ({error}); take it out") from error

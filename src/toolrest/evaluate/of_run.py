"""The evaluations of a run: before, on the way and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.engines.common.job import Job, Result
from toolrest.errors import InputError
from toolrest.evaluate.heldout import HeldOutResult, evaluate_heldout
from toolrest.evaluate.heldout_episodes import EpisodesResult, evaluate_episodes
from toolrest.evaluate.in_training import check_wording, evaluate_benchmarks
from toolrest.io.files import append_json, read_json, whole_lines, write_json, write_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RunEvaluation:
    """`toolrest.engines.common.job.Evaluation` by `evaluate_heldout`."""

    def __init__(self, job: Job) -> None:
        """Raises:
        InputError: a benchmark of the recipe cannot be put to its policy.
        """
        self._job = job
        if job.recipe.evaluation.benchmarks:
            job.ranks.first(partial(check_wording, job.recipe, job.run))

    def whole(self, model: PreTrainedModel, when: str, step: int = 0) -> Result | None:
        """The result `when` (before, warm_start or after) with those of the benchmarks; one that
        was finished before the run was stopped is read. None where nothing is evaluated on, and
        before training where the recipe leaves that out.

        Args:
            step: the optimiser steps done.

        Raises:
            InputError: a result that was written cannot be read.
        """
        job = self._job
        if when == "before" and not job.recipe.evaluation.before:
            return None
        found = self._held_out(model, when)
        if job.recipe.evaluation.benchmarks:
            return (found or {"n": 0}) | evaluate_benchmarks(model, job, when, step)
        return found

    def _held_out(self, model: PreTrainedModel, when: str) -> Result | None:
        job, samples = self._job, self._job.heldout
        if not samples:
            return None
        path = job.run.evaluation / f"{when}.json"
        if job.ranks.first(path.is_file):
            return _read_result(path)
        job.view.stage(
            f"evaluating {when} training on {len(samples)} held-out samples", 2 * len(samples)
        )
        found, rows = self._evaluate(model, job.view.advance)
        if job.ranks.main:
            job.run.evaluation.mkdir(exist_ok=True)
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_whole(job.run.evaluation / f"{when}.jsonl", "".join(lines))
            write_json(path, asdict(found))
        return asdict(found)

    def _evaluate(
        self, model: PreTrainedModel, on_progress: Callable[[int], None]
    ) -> tuple[HeldOutResult | EpisodesResult, list[dict[str, Any]]]:
        job = self._job
        if job.episodes is not None:
            return evaluate_episodes(model, job, on_progress)
        return evaluate_heldout(
            model, job.tokenizer, job.heldout, job.recipe, on_progress, job.ranks
        )

    def on_the_way(self, model: PreTrainedModel, step: int) -> None:
        """Evaluate after an optimiser step, and add the result to the curve."""
        job, found = self._job, {"n": 0}
        if job.heldout:
            found = asdict(self._evaluate(model, lambda done: None)[0])
        if job.recipe.evaluation.benchmarks:
            found |= evaluate_benchmarks(model, job, "on the way", step)
            job.view.stage("training", job.recipe.max_steps)
            job.view.advance(step)
        if len(found) > 1:
            self.add(step, found)

    def add(self, step: int, result: Result | None) -> None:
        """One more point of the curve; one that a stopped run wrote already stays as it is."""
        run = self._job.run
        if not self._job.ranks.main:
            return
        run.evaluation.mkdir(exist_ok=True)
        written = whole_lines(run.curve) if run.curve.is_file() else []
        if all(json.loads(line)["step"] != step for line in written):
            append_json(run.curve, {"step": step, **(result or {})})


def _read_result(path: Path) -> Result:
    """The result of an evaluation that was finished before."""
    try:
        found = read_json(path)
        if not isinstance(found["n"], int):
            raise TypeError("its n is no number")
        return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); take it out, and it is evaluated again"
        ) from error

"""Follows the steps of a run that TRL trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolrest.engines.common.job import Job
from toolrest.engines.trl.progress import Progress
from toolrest.runs.best import best_step, keep_best
from toolrest.runs.ending import ended_early

OnEvaluation = Callable[[int], None]
"""Called with the optimiser steps done, to evaluate on the way."""


class Follow(Progress):
    """Records each step, evaluates on the way, keeps the best, and stops at a whole step when asked
    to or when nothing gets better.
    """

    def __init__(self, job: Job, evaluate: OnEvaluation) -> None:
        super().__init__(job.record, job.run.seconds())
        self.job = job
        self.evaluate = evaluate
        self.stop_asked = False

    def ask_to_stop(self) -> None:
        self.stop_asked = True

    def on_train_begin(self, args, state, control, **rest):
        self._keep_best()

    def on_step_end(self, args, state, control, **rest):
        recipe, step = self.job.recipe, state.global_step
        every = recipe.evaluation.every
        if every and step % every == 0 and step < recipe.max_steps:
            self.evaluate(step)
            self._judge(step, control)
        whole = step % recipe.steps_per_generation == 0
        if whole and self.job.ranks.any(self.stop_asked):
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args, state, control, **rest):
        self._keep_best()

    def _judge(self, step: int, control: Any) -> None:
        """Save what is the best so far, and end training that gets no better."""
        job = self.job

        def found() -> tuple[bool, bool]:
            best = best_step(job.run, job.recipe, also=step)
            return best == step, ended_early(job.run, job.recipe, step) is not None

        best, ends = job.ranks.first(found)
        if best or ends:
            control.should_save = True
        if ends:
            control.should_training_stop = True

    def _keep_best(self) -> None:
        if self.job.ranks.main:
            keep_best(self.job.run, self.job.recipe)

"""A run by the TRL engine: evaluation before, warm start, training, evaluation after."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from toolrest.core.weights import get_scheme
from toolrest.engines.common.job import Evaluation, Interrupted, Job, Outcome
from toolrest.engines.trl.demonstrated import demonstrated, supervised
from toolrest.errors import InputError, unknown_name
from toolrest.policy.adapters import has_adapters
from toolrest.policy.folder import policy_folder
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import check_vllm, shares_prefix
from toolrest.runs.best import ended_early, keep_best
from toolrest.runs.checkpoints import checkpoint_step
from toolrest.runs.folder import RunFolder
from toolrest.runs.going_on import resumable_checkpoint
from toolrest.runs.reproducibility import record_machine

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrlEngine:
    """`toolrest.engines.common.job.Engine` by TRL, in this process and those beside it."""

    def check(self, recipe: Recipe, run: RunFolder) -> list[str]:
        """No notes.

        Raises:
            InputError: an unknown scheme or option, or a sampler that is not there.
        """
        get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
        check_vllm(recipe)
        return []

    def first_step(self, recipe: Recipe, run: RunFolder) -> int:
        """The steps done in the newest checkpoint that can be gone on from; 0 without any."""
        checkpoint = resumable_checkpoint(run, recipe)
        return 0 if checkpoint is None else checkpoint_step(checkpoint)

    def train(self, job: Job, evaluation: Evaluation) -> Outcome:
        """Train to the recipe's last step, or by its supervised method alone.

        Raises:
            InputError: something given cannot be used.
            Interrupted: the user asked to stop.
        """
        recipe = job.recipe
        if job.ranks.main:
            changed = record_machine(job.run, recipe.seed, job.ranks.count)
            if changed:
                job.view.note(f"the rest may differ from an undisturbed run: {'; '.join(changed)}")
        if supervised(recipe) != "none":
            demonstrated(recipe, job.samples.train)
        job.view.stage("loading the policy and the training engine")
        model = load_policy(recipe, trained=True)
        _check_fits(recipe, model)
        from toolrest.engines.trl.launch import train_with_trl

        before = start = evaluation.whole(model, "before")
        if recipe.method != "rl":
            warm = recipe.warm_start.model_copy(update={"method": recipe.method})
            alone = replace(job, recipe=recipe.model_copy(update={"warm_start": warm}))
            model = _warm_started(alone, model)
            return Outcome(before, evaluation.whole(model, "after", warm.steps), warm.steps)
        if recipe.warm_start.method != "none":
            model = _warm_started(job, model)
            start = evaluation.whole(model, "warm_start")
        elif _needs_base(recipe) and has_adapters(policy_folder(recipe)):
            model = _based(job, model)
        job.begin("training")
        curved = bool(job.is_evaluated and recipe.evaluation.every)
        if curved and job.first == 0:
            evaluation.add(0, start)
        steps, ended = job.first, _ended(job, job.first)
        if ended is None and (steps == 0 or steps < recipe.max_steps):
            steps = train_with_trl(job, model, partial(evaluation.on_the_way, model))
            ended = _ended(job, steps)
        if ended is not None and job.ranks.main:
            job.view.note(ended)
        if ended is None and steps < recipe.max_steps:
            raise Interrupted
        job.ranks.wait()
        if job.first == steps or (job.ranks.count > 1 and recipe.engine.sharding != "ddp"):
            model = load_policy(recipe, job.run.last_checkpoint())
        after = evaluation.whole(model, "after", steps)
        if curved:
            evaluation.add(steps, after)
        best = keep_best(job.run, recipe) if job.ranks.main else None
        return Outcome(before, after, steps, ended, best)


def _ended(job: Job, step: int) -> str | None:
    """Why training ends after a step before its last, in every process; None: it goes on."""
    return job.ranks.first(partial(ended_early, job.run, job.recipe, step))


def _check_fits(recipe: Recipe, model: PreTrainedModel) -> None:
    """Check, before anything is sampled, that the policy has what the recipe names of it.

    Raises:
        InputError: it has no module of a name in `lora.target_modules`, or its attention is none
            that the recipe's sampler computes.
    """
    if recipe.method == "rl" and recipe.rollout.sampler != "vllm":
        shares_prefix(model, recipe.rollout.sampler)
    for named in recipe.lora.names or () if recipe.lora.rank else ():
        layers = [name for name, _ in model.named_modules()]
        if not any(name == named or name.endswith(f".{named}") for name in layers):
            known = sorted({name.rpartition(".")[2] for name in layers if "proj" in name})
            said = unknown_name("module", named, known)
            raise InputError(f"lora.target_modules: the policy has none such: {said}, all-linear")


def _warm_started(job: Job, model: PreTrainedModel) -> PreTrainedModel:
    """The policy after the warm start; a finished warm start is loaded from the run's folder."""
    from toolrest.engines.trl.warm_start import warm_start_with_trl

    if not job.ranks.first(job.run.warm_start.is_dir):
        warm, shown = job.recipe.warm_start, demonstrated(job.recipe, job.samples.train)
        job.view.stage(f"warm start ({warm.method})", warm.steps)
        warm_start_with_trl(job, model, shown)
    return load_policy(job.recipe, job.run.warm_start)


def _needs_base(recipe: Recipe) -> bool:
    """Whether the policy at the start is loaded by its folder: by adapters, or for the KL term."""
    return recipe.lora.rank > 0 or recipe.optimizer.beta > 0


def _based(job: Job, model: PreTrainedModel) -> PreTrainedModel:
    """The policy, saved whole in the run's folder as the base of new adapters, or as the policy
    that a KL term is measured from: where the recipe's policy is one of adapters, these are merged,
    as nothing loads adapters of adapters.
    """
    base = job.run.base

    def write() -> None:
        part = base.with_name(base.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        model.save_pretrained(part)
        job.tokenizer.save_pretrained(part)
        part.replace(base)

    if not job.ranks.first(base.is_dir):
        job.ranks.first(write)
    return load_policy(job.recipe, base, trained=True)

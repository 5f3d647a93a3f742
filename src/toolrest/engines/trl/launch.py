"""A recipe run by the TRL engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region
from toolrest.engines.common.episodes import environment_reward, episode_record
from toolrest.engines.common.guarded_reward import GuardedReward, load_reward_function
from toolrest.engines.common.job import Job
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.engines.common.signals import stopped_by_signals
from toolrest.engines.trl.follow import Follow, OnEvaluation
from toolrest.engines.trl.parted import loaded
from toolrest.engines.trl.prefix.support import has_router_loss
from toolrest.engines.trl.reporting import PROJECT, reporting
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.engines.trl.rows import training_rows
from toolrest.engines.trl.settings import check_precision, lora_config, uses_bfloat16
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer, RolloutBatch
from toolrest.io.files import write_whole
from toolrest.policy.folder import adapted_policy
from toolrest.policy.own_code import needs_own_code
from toolrest.policy.speech import read_speech
from toolrest.recipe import Recipe
from toolrest.recipe.sharding import is_parted
from toolrest.rollout.sampler import check_vllm, shares_prefix
from toolrest.runs.best import best_step
from toolrest.runs.card_of_run import kept_licence, run_card
from toolrest.runs.folder import rollouts_file
from toolrest.runs.model_card import ModelCard, Results

if TYPE_CHECKING:
    from toolrest.engines.trl.parted import Policy

_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}


def trl_config(recipe: Recipe, checkpoints: Path, *, by_tokens: bool = True) -> ResTConfig:
    """The trainer's arguments of a recipe.

    Args:
        by_tokens: whether the policy's forwards can be cut by tokens, where nobody asked for it.
    """
    tokens = _micro_tokens(recipe, by_tokens)
    micro = recipe.responses_per_forward if tokens is None else recipe.responses_per_process
    accumulated = recipe.responses_per_process // micro
    vllm = recipe.rollout.vllm
    return ResTConfig(
        output_dir=str(checkpoints),
        weighting=recipe.weighting.scheme,
        weighting_options=recipe.weighting.options,
        entropy_source=recipe.weighting.entropy_source,
        entropy_decay=recipe.weighting.entropy_decay,
        dialect=recipe.dialect,
        loss_type=recipe.optimizer.loss,
        epsilon=recipe.optimizer.clip_epsilon,
        epsilon_high=recipe.optimizer.clip_epsilon_high,
        clip_by=recipe.optimizer.clip_by,
        llds=recipe.optimizer.llds,
        scale_rewards=recipe.advantage.scale,
        credit=recipe.advantage.credit,
        branches=recipe.rollout.branches,
        non_finite=recipe.guards.non_finite,
        label_noise=recipe.reward.label_noise,
        credit_discount=recipe.advantage.discount,
        record_entropies=recipe.rollout.saved_entropies,
        beta=recipe.optimizer.beta,
        num_iterations=recipe.optimizer.iterations,
        num_generations=recipe.rollout.group_size,
        max_completion_length=recipe.longest_response,
        normalise=recipe.weighting.normalise,
        environment_failure=recipe.environment.failure,
        temperature=recipe.rollout.temperature,
        top_p=recipe.rollout.top_p,
        top_k=recipe.rollout.top_k,
        min_p=recipe.rollout.min_p or None,
        mask_truncated_completions=recipe.optimizer.mask_truncated,
        reward_weights=_reward_weights(recipe),
        prefix_sharing=recipe.optimizer.prefix_sharing,
        micro_tokens=tokens,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        steps_per_generation=accumulated * recipe.updates_per_generation,
        gradient_checkpointing=recipe.optimizer.gradient_checkpointing,
        optim=_OPTIMIZERS[recipe.optimizer.name],
        learning_rate=recipe.optimizer.learning_rate,
        lr_scheduler_type=_schedule(recipe),
        warmup_steps=recipe.optimizer.warmup_steps,
        weight_decay=recipe.optimizer.weight_decay,
        max_grad_norm=recipe.optimizer.max_grad_norm,
        max_steps=recipe.max_steps,
        save_steps=recipe.save_steps,
        save_total_limit=recipe.keep_checkpoints,
        logging_steps=1,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=uses_bfloat16(recipe),
        use_vllm=recipe.rollout.sampler == "vllm",
        vllm_mode=vllm.mode,
        vllm_gpu_memory_utilization=vllm.memory,
        vllm_tensor_parallel_size=vllm.tensor_parallel,
        vllm_server_base_url=vllm.server if vllm.mode == "server" else None,
        vllm_importance_sampling_correction=vllm.correction,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        trust_remote_code=recipe.trust_remote_code,
        report_to=list(recipe.report_to) or "none",
        project=PROJECT,
        run_name=checkpoints.resolve().parent.name,
        disable_tqdm=True,
    )


def _schedule(recipe: Recipe) -> str:
    """What transformers calls the schedule; its `constant` has no warm-up."""
    optimizer = recipe.optimizer
    warmed = optimizer.schedule == "constant" and optimizer.warmup_steps > 0
    return "constant_with_warmup" if warmed else optimizer.schedule


def _micro_tokens(recipe: Recipe, by_tokens: bool) -> int | None:
    """Tokens of one forward and backward; None where they are cut by responses. Sharded policies
    are, as they would gather gradients for every part.
    """
    optimizer, engine = recipe.optimizer, recipe.engine
    if optimizer.micro_tokens is not None:
        return optimizer.micro_tokens
    by_tokens = by_tokens and optimizer.prefix_sharing != "off" and engine.sharding == "ddp"
    if not by_tokens or optimizer.micro_batch is None:
        return None
    return recipe.responses_per_forward * recipe.longest_sequence


def train_with_trl(job: Job, policy: Policy, evaluate: OnEvaluation) -> int:
    """Train the policy in place, from the run's last checkpoint where `job.first` says so;
    checkpoints, metrics and rollouts go to the run's folder.

    Ctrl-C, or SIGTERM, ends training after the current step, with a checkpoint; a second one ends
    it at once.

    Args:
        job: of each of the processes that train together, each of which calls this.
        policy: a model, or what loads it in parts.
        evaluate: called after the steps at which the recipe has the policy evaluated on the way.

    Returns:
        The optimiser steps done; fewer than the recipe's if it was interrupted, or has ended early
        by `evaluation.patience`.
    """
    with reporting(job.run):
        return _train(job, policy, evaluate)


def _train(job: Job, policy: Policy, evaluate: OnEvaluation) -> int:
    recipe, run, tokenizer = job.recipe, job.run, job.tokenizer
    follow = Follow(job, evaluate)
    by_tokens = isinstance(policy, torch.nn.Module) and not has_router_loss(policy)
    args = trl_config(recipe, run.checkpoints, by_tokens=by_tokens)
    check_precision(recipe, args)
    model = loaded(policy)
    trainer = ResTTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=_rewards(job),
        train_dataset=training_rows(job.samples.train, tokenizer),
        args=args,
        callbacks=[follow],
        rollout_func=None if recipe.acts else _rollout_function(recipe, model),
        environment=job.episodes if recipe.acts else None,
        on_rollouts=_rollout_writer(job, model) if job.ranks.main else None,
        peft_config=lora_config(recipe),
        on_incident=job.monitor.keep,
        model_card=partial(_card, job, model),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.best_checkpoint = partial(best_step, run, recipe)
    if recipe.lora.rank:
        adapted: Any = trainer.accelerator.unwrap_model(cast(Any, trainer.model))
        for each in adapted.peft_config.values():
            each.base_model_name_or_path = adapted_policy(recipe, str(model.name_or_path))
    checkpoint = str(run.checkpoints / f"checkpoint-{job.first}") if job.first else None
    with stopped_by_signals(follow.ask_to_stop):
        trainer.train(resume_from_checkpoint=checkpoint)
    return trainer.state.global_step


def _card(job: Job, model: PreTrainedModel, step: int) -> ModelCard:
    """The card of a checkpoint of the run."""
    recipe, name = job.recipe, job.run.path.resolve().name
    speech = read_speech(job.tokenizer, get_dialect(recipe.dialect), model.generation_config)
    return run_card(
        recipe,
        job.origin.hashes,
        job.tokenizer,
        speech,
        name=f"{name}, checkpoint {step}",
        steps=f"{step} of {recipe.max_steps}",
        folder=f"./checkpoint-{step}",
        results=Results(
            "A checkpoint is not evaluated when it is written; `toolrest evaluate` does that."
        ),
        rows={"train": len(job.samples.train), "heldout": len(job.samples.heldout)},
        licence=kept_licence(recipe),
        adapter=recipe.lora.rank > 0,
        own_code=needs_own_code(model.config, job.tokenizer, trusted=recipe.trust_remote_code),
    )


def _rewards(job: Job) -> list[Any]:
    """The recipe's reward, and the user's functions."""
    recipe = job.recipe
    rewards: list[Any] = []
    if not recipe.acts or recipe.reward.by_turns:
        rewards.append(recipe_reward(recipe))
    if environment_reward(recipe) is None:
        rule, timeout = recipe.guards.reward_error, recipe.reward.timeout
        rewards += [
            GuardedReward(load_reward_function(named), rule, timeout, job.monitor.say, job.ranks)
            for named in recipe.reward.functions
        ]
    return rewards


def _reward_weights(recipe: Recipe) -> list[float] | None:
    """What each of the trainer's rewards counts: the environment's, the rules', the functions'."""
    if recipe.reward.weights is None:
        return None
    own, *functions = recipe.reward.weights
    both = recipe.acts and recipe.reward.by_turns
    return [own] * (1 + both) + functions


def _rollout_function(recipe: Recipe, model: PreTrainedModel) -> Any:
    if recipe.rollout.sampler == "vllm":
        check_vllm(recipe)
        return None
    if is_parted(recipe):  # its processes forward in step, and all through what is sharded
        return None
    return shared_prefix_rollout if shares_prefix(model, recipe.rollout.sampler) else None


def _prompt_text(batch: RolloutBatch, row: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """A prompt to read: messages one after the other; where it is a text, or an episode's tools
    stand beside its messages, what the policy reads.
    """
    prompt = batch.inputs[row]["prompt"]
    start = None if batch.episodes is None else batch.episodes.starts[row]
    if batch.episodes is not None and start is not None:
        if start.tools:
            return cast(str, tokenizer.decode(batch.episodes.trajectories[row].prompt_ids))
        prompt = start.messages
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"[{message['role']}] {message['content']}" for message in prompt)


def _reward_record(batch: RolloutBatch, row: int) -> dict[str, Any]:
    """The parts of a response's reward, or what its episode earned, with what its turns did by the
    rules where they are scored.
    """
    if batch.episodes is None:
        return asdict(batch.breakdowns[row])
    by_turns = {"by_turns": batch.breakdowns[row].total} if batch.breakdowns else {}
    return {"total": batch.episodes.trajectories[row].reward} | by_turns


def _truth(truth: str | list[str]) -> str:
    """A ground truth to read; of a dialogue one reply after the other."""
    return truth if isinstance(truth, str) else "\n\n".join(truth)


def _rollout_writer(job: Job, model: PreTrainedModel) -> Callable[[RolloutBatch], None] | None:
    recipe, run, tokenizer = job.recipe, job.run, job.tokenizer
    run.rollouts.mkdir(exist_ok=True)
    rows = recipe.rollout.saved_groups * recipe.rollout.group_size
    if rows == 0:
        return None
    dialect = get_dialect(recipe.dialect)
    vocabulary = read_speech(tokenizer, dialect, model.generation_config).vocabulary

    def write(batch: RolloutBatch) -> None:
        lines = []
        for row in range(min(rows, len(batch.inputs))):
            kept = batch.sampled[row]
            ids = batch.completion_ids[row][kept].tolist()
            record = {
                "step": batch.step + 1,
                "steps_done": batch.step,
                "identity": batch.inputs[row]["identity"],
                "ground_truth": _truth(batch.inputs[row]["ground_truth"]),
                "opening": batch.openings[row] if batch.openings else "",
                "response": tokenizer.decode(ids),
                "advantage": batch.advantages[row].item(),
                "reward": _reward_record(batch, row),
                "ids": ids,
                "cut": vocabulary.end_ids.isdisjoint(ids[-1:]),  # at the length limit
                "tokens": vocabulary.pieces(ids),
                "regions": [Region(r).name.lower() for r in batch.regions[row][kept].tolist()],
                "weights": [round(w, 4) for w in batch.weights[row][kept].tolist()],
            }
            if batch.credited is not None:
                credited = batch.credited[row][kept].tolist()
                record["advantages"] = [round(each, 4) for each in credited]
            if batch.forks is not None:
                record["fork"] = int(batch.forks[row])
            if batch.entropies is not None:
                entropies = batch.entropies[row][kept].tolist()
                record["entropies"] = [round(entropy, 4) for entropy in entropies]
            if batch.episodes is not None:
                trajectory = batch.episodes.trajectories[row]
                record["episode"] = episode_record(trajectory) | {
                    "ids": trajectory.ids,
                    "sampled": [int(each) for each in trajectory.sampled],
                }
            if dialect.reads_types and batch.inputs[row].get("tools"):
                record["tools"] = json.loads(batch.inputs[row]["tools"])
            if row % recipe.rollout.group_size == 0:
                record["prompt"] = _prompt_text(batch, row, tokenizer)
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        path = rollouts_file(run.rollouts, batch.step + 1)
        write_whole(path, "".join(lines))

    return write

"""A recipe as verl's settings, and as the command that starts verl with them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.core.weights import Statistic, get_scheme
from toolrest.engines.verl.names import EXACT_LOSSES, MODULE, loss_name, trainer_name
from toolrest.errors import InputError
from toolrest.io.foreign import user_path
from toolrest.recipe import EMBEDDED, Recipe
from toolrest.recipe.sources import recipe_rendering
from toolrest.runs.folder import RunFolder

_RAW_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""For prompts that are written out already."""
DATA_SOURCE = "toolrest"
"""verl averages its validation by the data's source; ours has one name for all."""

_ACTOR = "actor_rollout_ref.actor"
_MODEL = "actor_rollout_ref.model"
_ROLLOUT = "actor_rollout_ref.rollout"
_LOSS_MODE = f"{_ACTOR}.policy_loss.loss_mode"
_DUAL_CLIP = f"{_ACTOR}.clip_ratio_c"
_NO_DUAL_CLIP = 1e6
_AGGREGATION = {
    "grpo": "seq-mean-token-mean",
    "dapo": "token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}
"""verl's loss_agg_mode by TRL's loss_type."""


@dataclass(frozen=True)
class VerlPaths:
    """Where a run has its files; absolute, and the same on every machine."""

    train: Path
    """The training rows, parquet."""
    heldout: Path | None
    """The rows to evaluate on, parquet; None: no evaluation."""
    checkpoints: Path
    """Folder of the checkpoints."""
    metrics: Path
    """What verl's file logger writes."""
    scratch: Path
    """Folder for what Hydra and other loggers leave behind."""
    lock: Path
    """Held while verl's process lives."""


def run_paths(run: Path, *, evaluated: bool, first: int = 0) -> VerlPaths:
    """The files of a run's folder.

    Args:
        evaluated: whether there are held-out rows.
        first: verl's step that the run goes on from; its logger empties a file that is there.
    """
    root = run.resolve()
    own = root / "verl"
    return VerlPaths(
        train=own / "train.parquet",
        heldout=own / "heldout.parquet" if evaluated else None,
        checkpoints=root / "checkpoints",
        metrics=own / f"metrics-{first:06d}.jsonl",
        scratch=own,
        lock=RunFolder(root).worker_lock,
    )


def verl_command(
    recipe: Recipe, name: str, paths: VerlPaths, python: str = "python3"
) -> tuple[dict[str, str], list[str]]:
    """(environment variables, arguments) that start verl.

    Args:
        name: the run's.
        python: the interpreter that has verl.

    Raises:
        InputError: see `verl_overrides`.
    """
    overrides = verl_overrides(recipe, name, paths)
    written = [f"{key}={hydra_value(value)}" for key, value in overrides.items()]
    return _environment(recipe, paths), [python, "-m", "verl.trainer.main_ppo", *written]


def shell_command(environment: dict[str, str], arguments: list[str]) -> str:
    """The same as a shell reads it, one argument a line."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    head = " ".join([*variables, *map(shlex.quote, arguments[:3])])
    return " \\\n    ".join([head, *map(shlex.quote, arguments[3:])])


def verl_overrides(recipe: Recipe, name: str, paths: VerlPaths) -> dict[str, Any]:
    """verl's settings by their dotted names; `+` leads those that its own files do not have.

    Raises:
        InputError: the recipe has what verl cannot do, or options that would break the weights.
    """
    _check_recipe(recipe)
    options = dict(recipe.engine.options)
    _check_options(recipe, options)
    loss = options.pop(_LOSS_MODE, "vanilla")
    made = {
        **_algorithm(recipe, loss),
        **_policy(recipe),
        **_sampling(recipe),
        **_data(recipe, paths),
        **_rewards(recipe),
        **_run(recipe, name, paths),
        **_ours(recipe, paths),
    }
    for key, value in options.items():
        replaced = next((ours for ours in made if ours.lstrip("+") == key.lstrip("+")), key)
        made[replaced] = value
    return made


def verl_notes(recipe: Recipe) -> list[str]:
    """What is done otherwise than the paper does it, because an option asks for it."""
    notes = []
    clip = recipe.engine.options.get(_DUAL_CLIP)
    loss = recipe.engine.options.get(_LOSS_MODE, "vanilla")
    if clip is not None and loss == "vanilla" and float(clip) < _NO_DUAL_CLIP:
        notes.append(
            f"{_DUAL_CLIP}={clip}: verl's dual clip is on, which bounds the loss of a token with a "
            f"negative advantage at {clip} w|A|; the paper has none"
        )
    if recipe.engine.options.get(f"{_ACTOR}.use_kl_loss"):
        notes.append(f"{_ACTOR}.use_kl_loss: the KL term is added unweighted")
    return notes


def verl_steps(recipe: Recipe) -> int:
    """verl's steps: one generation with all its updates each.

    Raises:
        InputError: `max_steps` ends inside a generation.
    """
    return _generations(recipe, "max_steps", recipe.max_steps)


def _generations(recipe: Recipe, key: str, updates: int) -> int:
    """A number of optimiser steps as a number of generations."""
    each = recipe.steps_per_generation
    if updates % each:
        raise InputError(
            f"{key}={updates}: with engine=verl it counts whole generations of {each} optimiser "
            f"steps; use {(updates // each + 1) * each}"
        )
    return updates // each


def writes_out(recipe: Recipe) -> bool:
    """Whether prompts are given to verl as text. verl's chat templates know no tools of single rows
    and no calls of earlier steps, so where the template words them ours is applied beforehand.
    """
    return recipe_rendering(recipe).style == "template"


def _check_recipe(recipe: Recipe) -> None:
    """What the engine cannot do."""
    vllm = recipe.rollout.vllm
    refused = [
        (
            recipe.policy == EMBEDDED,
            "policy=embedded: verl samples with vLLM, which does not know the embedded policy; "
            "give a checkpoint, such as policy=Qwen/Qwen3-1.7B, or use engine=trl",
        ),
        (
            recipe.data.path is None and not recipe.data.sources,
            "engine=verl needs rows of your own: give data.path or data.sources",
        ),
        (
            recipe.method != "rl",
            f"method={recipe.method}: supervised learning is the TRL engine's; use engine=trl",
        ),
        (
            recipe.warm_start.method != "none",
            f"warm_start.method={recipe.warm_start.method}: run it by itself with "
            f"`method={recipe.warm_start.method}` and engine=trl, then give its folder "
            "runs/<name>/warm_start as policy",
        ),
        (
            recipe.advantage.credit != "response",
            f"advantage.credit={recipe.advantage.credit}: the verl engine credits whole responses; "
            "use credit=response, or engine=trl",
        ),
        (
            recipe.advantage.scale == "batch",
            "advantage.scale=batch: verl divides by the group's deviation or not at all; use "
            "group or none",
        ),
        (
            recipe.optimizer.loss not in _AGGREGATION,
            f"optimizer.loss={recipe.optimizer.loss}: verl has the means of "
            f"{', '.join(_AGGREGATION)}; its other losses are an option: engine.options="
            f"{{{_LOSS_MODE}: cispo}}",
        ),
        (
            recipe.rollout.sampler not in ("auto", "vllm"),
            f"rollout.sampler={recipe.rollout.sampler}: verl samples with vLLM; use auto",
        ),
        (
            vllm.mode == "server",
            "rollout.vllm.mode=server is TRL's server; verl starts its own, use colocate",
        ),
        (
            recipe.rollout.saved_entropies,
            "rollout.saved_entropies is a setting of the TRL engine; the verl engine writes no "
            "rollouts token by token",
        ),
        (
            recipe.lora.dropout > 0,
            f"lora.dropout={recipe.lora.dropout}: verl's adapters have no dropout; use 0",
        ),
        (
            recipe.lora.rank > 0 and recipe.lora.alpha != int(recipe.lora.alpha),
            f"lora.alpha={recipe.lora.alpha}: verl takes a whole number",
        ),
    ]
    for wrong, reason in refused:
        if wrong:
            raise InputError(reason)
    scheme = get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    if scheme.statistic is Statistic.COLLISION:
        raise InputError(
            "weighting.options.rule=collision: verl's old policy gives entropies alone; use "
            "another rule, or engine=trl"
        )


def _check_options(recipe: Recipe, options: dict[str, Any]) -> None:
    """Options that would break the weights, or belong into the recipe."""
    by_name = {key.lstrip("+"): value for key, value in options.items()}
    loss = by_name.get(_LOSS_MODE, "vanilla")
    custom = by_name.get("reward.custom_reward_function.path")
    mode = recipe.engine.mode
    refused = [
        (
            bool(by_name.get("algorithm.rollout_correction.bypass_mode")),
            "algorithm.rollout_correction.bypass_mode: verl then skips the old policy's forward, "
            "and with it the entropies that the weights come from; leave it off",
        ),
        (
            loss not in EXACT_LOSSES,
            f"{_LOSS_MODE}={loss}: that loss does not weigh a token by its advantage alone, so the "
            f"weights would be distorted; use one of {', '.join(EXACT_LOSSES)}",
        ),
        (
            by_name.get("trainer.use_v1") is False,
            "trainer.use_v1=False: the weights need verl's v1 trainers; leave it on",
        ),
        (
            "trainer.v1.trainer_mode" in by_name,
            "trainer.v1.trainer_mode: use engine.mode=sync, colocate_async or separate_async, so "
            "that the trainer with the weights runs",
        ),
        (
            bool(by_name.get("distillation.enabled")),
            "distillation.enabled: distillation has a loss of its own, which knows no weights",
        ),
        (
            custom is not None and recipe.reward.schedule != "constant",
            "reward.custom_reward_function.path: a reward of your own has no parts to schedule; "
            "use reward.schedule=constant with it",
        ),
        (
            mode == "separate_async" and not by_name.get(f"{_ROLLOUT}.nnodes"),
            f"engine.mode=separate_async samples on machines of its own; say how many: "
            f"engine.options={{{_ROLLOUT}.nnodes: 1}}",
        ),
    ]
    for wrong, reason in refused:
        if wrong:
            raise InputError(f"engine.options: {reason}")
    ours = [key for key in by_name if key == "toolrest" or key.startswith("toolrest.")]
    if ours:
        raise InputError(f"engine.options: {ours[0]} comes from the recipe; set it there")


def _algorithm(recipe: Recipe, loss: str) -> dict[str, Any]:
    optimizer = recipe.optimizer
    correction = "token" if recipe.rollout.vllm.correction else None
    made: dict[str, Any] = {
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": recipe.advantage.scale == "group",
        "algorithm.use_kl_in_reward": False,
        "algorithm.rollout_correction.bypass_mode": False,
        "algorithm.rollout_correction.rollout_is": correction,
        _LOSS_MODE: loss_name(loss),
        f"{_ACTOR}.loss_agg_mode": _AGGREGATION[optimizer.loss],
        f"{_ACTOR}.use_kl_loss": False,
        f"{_ACTOR}.entropy_coeff": 0,
        f"{_ACTOR}.clip_ratio": optimizer.clip_epsilon,
        f"{_ACTOR}.clip_ratio_low": optimizer.clip_epsilon,
        f"{_ACTOR}.clip_ratio_high": optimizer.clip_epsilon_high or optimizer.clip_epsilon,
    }
    if loss == "vanilla":
        made[_DUAL_CLIP] = _NO_DUAL_CLIP
    if optimizer.loss == "dr_grpo":
        made[f"{_ACTOR}.loss_scale_factor"] = recipe.rollout.max_response_tokens
    return made


def _policy(recipe: Recipe) -> dict[str, Any]:
    optimizer, lora = recipe.optimizer, recipe.lora
    prompts = optimizer.mini_batch or recipe.rollout.prompts_per_step
    path = user_path(recipe.policy, f"policy={recipe.policy}")
    made: dict[str, Any] = {
        f"{_MODEL}.path": str(path.resolve()) if path.is_dir() else recipe.policy,
        f"{_MODEL}.trust_remote_code": recipe.trust_remote_code,
        f"{_MODEL}.enable_gradient_checkpointing": optimizer.gradient_checkpointing,
        f"{_ACTOR}.ppo_mini_batch_size": prompts,
        f"{_ACTOR}.ppo_micro_batch_size_per_gpu": recipe.responses_per_forward,
        f"{_ACTOR}.ppo_epochs": optimizer.iterations,
        f"{_ACTOR}.data_loader_seed": recipe.seed,
        f"{_ACTOR}.optim.lr": optimizer.learning_rate,
        f"{_ACTOR}.optim.lr_scheduler_type": "constant",
        f"{_ACTOR}.optim.weight_decay": 0.0,
        f"{_ACTOR}.optim.clip_grad": optimizer.max_grad_norm,
        f"{_ACTOR}.fsdp_config.seed": recipe.seed,
    }
    if writes_out(recipe):
        made[f"{_MODEL}.custom_chat_template"] = _RAW_TEMPLATE
    if recipe.engine.precision != "auto":
        made[f"{_ACTOR}.fsdp_config.dtype"] = recipe.engine.precision
    if lora.rank:
        made |= {
            f"{_MODEL}.lora_rank": lora.rank,
            f"{_MODEL}.lora_alpha": int(lora.alpha),
            f"{_MODEL}.target_modules": lora.names or "all-linear",
            f"{_ROLLOUT}.load_format": "safetensors",
        }
    else:
        contents = ["model", "optimizer", "extra", "hf_model"]
        made[f"{_ACTOR}.checkpoint.save_contents"] = contents
        made[f"{_ACTOR}.checkpoint.load_contents"] = contents[:3]
    return made


def _sampling(recipe: Recipe) -> dict[str, Any]:
    rollout = recipe.rollout
    made: dict[str, Any] = {
        f"{_ROLLOUT}.name": "vllm",
        f"{_ROLLOUT}.n": rollout.group_size,
        f"{_ROLLOUT}.temperature": rollout.temperature,
        f"{_ROLLOUT}.seed": recipe.seed,
        f"{_ROLLOUT}.gpu_memory_utilization": rollout.vllm.memory,
        f"{_ROLLOUT}.tensor_model_parallel_size": rollout.vllm.tensor_parallel,
        f"{_ROLLOUT}.calculate_log_probs": True,
        f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": recipe.responses_per_forward,
    }
    if recipe.engine.precision == "float32":
        made[f"{_ROLLOUT}.dtype"] = "float32"
    if recipe.engine.mode == "separate_async":
        made[f"{_ROLLOUT}.checkpoint_engine.backend"] = "nccl"
    return made


def _data(recipe: Recipe, paths: VerlPaths) -> dict[str, Any]:
    made: dict[str, Any] = {
        "data.train_files": str(paths.train),
        "data.val_files": str(paths.heldout or paths.train),
        "data.train_batch_size": recipe.rollout.prompts_per_step,
        "data.max_prompt_length": recipe.data.max_prompt_tokens,
        "data.max_response_length": recipe.rollout.max_response_tokens,
        "data.seed": recipe.seed,
        "data.trust_remote_code": recipe.trust_remote_code,
    }
    if recipe.data.template_options and not writes_out(recipe):
        made["+data.apply_chat_template_kwargs"] = recipe.data.template_options
    return made


def _rewards(recipe: Recipe) -> dict[str, Any]:
    function = "reward.custom_reward_function"
    return {
        f"{function}.path": "pkg://toolrest.engines.verl.reward_function",
        f"{function}.name": "compute_score",
        f"+{function}.reward_kwargs": {
            "dialect": recipe.dialect,
            "correctness": dict(recipe.reward.correctness),
            "punish_over_calls": recipe.reward.punish_over_calls,
            "normalise_strings": recipe.reward.normalise_strings,
            "lenient_types": recipe.reward.lenient_types,
        },
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "ToolRewardManager",
        "reward.reward_manager.module.path": "pkg://toolrest.engines.verl.reward_manager",
    }


def _run(recipe: Recipe, name: str, paths: VerlPaths) -> dict[str, Any]:
    steps = verl_steps(recipe)
    every = steps
    if recipe.evaluation.every:
        every = _generations(recipe, "evaluation.every", recipe.evaluation.every)
    made: dict[str, Any] = {
        "trainer.v1.trainer_mode": trainer_name(recipe.engine.mode),
        "trainer.nnodes": recipe.engine.nodes,
        "trainer.n_gpus_per_node": recipe.engine.processes,
        "trainer.total_training_steps": steps,
        "trainer.total_epochs": steps,
        "trainer.save_freq": _generations(recipe, "save_steps", recipe.save_steps),
        "trainer.max_actor_ckpt_to_keep": 2,
        "trainer.default_local_dir": str(paths.checkpoints),
        "trainer.resume_mode": "auto",
        "trainer.val_before_train": paths.heldout is not None,
        "trainer.test_freq": -1 if paths.heldout is None else every,
        "trainer.logger": ["console", "file", *recipe.report_to],
        "trainer.project_name": "toolrest",
        "trainer.experiment_name": name,
        "hydra.run.dir": str(paths.scratch / "hydra"),
    }
    if recipe.engine.mode == "separate_async":
        made["trainer.v1.separate_async.parameter_sync_step"] = recipe.updates_per_generation
    return made


def _ours(recipe: Recipe, paths: VerlPaths) -> dict[str, Any]:
    """What the plug-in reads, and what Ray's workers have to load."""
    weighting = recipe.weighting
    made: dict[str, Any] = {
        "+toolrest.scheme": weighting.scheme,
        "+toolrest.options": weighting.options,
        "+toolrest.dialect": recipe.dialect,
        "+toolrest.entropy_source": weighting.entropy_source,
        "+toolrest.entropy_decay": weighting.entropy_decay,
        "+toolrest.reward_schedule": recipe.reward.schedule,
    }
    for variable, value in _environment(recipe, paths).items():
        made[f"+ray_kwargs.ray_init.runtime_env.env_vars.{variable}"] = value
    return made


def _environment(recipe: Recipe, paths: VerlPaths) -> dict[str, str]:
    variables = {
        "VERL_USE_EXTERNAL_MODULES": MODULE,
        "VERL_FILE_LOGGER_PATH": str(paths.metrics),
    }
    if "tensorboard" in recipe.report_to:
        variables["TENSORBOARD_DIR"] = str(paths.scratch / "tensorboard")
    return variables


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@+")


def hydra_value(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        pairs = (f"{hydra_value(str(key))}:{hydra_value(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    text = str(value)
    if text and set(text) <= _PLAIN and not _reads_as_another(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _reads_as_another(text: str) -> bool:
    """Whether an unquoted text would be a number, a truth value or nothing, or has a colon, which
    parts a dictionary's key from its value.
    """
    if text.lower() in ("null", "true", "false", "nan", "inf", "-inf") or ":" in text:
        return True
    try:
        float(text.replace("_", ""))
    except ValueError:
        return False
    return True

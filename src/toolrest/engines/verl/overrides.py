"""A recipe as verl's settings, and as the command that starts verl with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.engines.verl.checks import check_options, check_recipe
from toolrest.engines.verl.counts import generations
from toolrest.engines.verl.episodes import episode_settings
from toolrest.engines.verl.hydra import hydra_value
from toolrest.engines.verl.names import (
    ACTOR,
    AGENT_LOOP,
    AGGREGATION,
    DUAL_CLIP,
    LOSS_MODE,
    MODEL,
    MODULE,
    NO_DUAL_CLIP,
    ROLLOUT,
    loss_name,
    trainer_name,
)
from toolrest.engines.verl.optimizer import optimizer_settings
from toolrest.io.foreign import user_path
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder

_RAW_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""For prompts that are written out already."""
DATA_SOURCE = "toolrest"
"""verl averages its validation by the data's source; ours has one name for all."""


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
    environment_log: Path
    """What the recipe's environment prints is added to it."""


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
        environment_log=RunFolder(root).environment_log,
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


def verl_overrides(recipe: Recipe, name: str, paths: VerlPaths) -> dict[str, Any]:
    """verl's settings by their dotted names; `+` leads those that its own files do not have.

    Raises:
        InputError: the recipe has what verl cannot do, or options that would break the weights.
    """
    check_recipe(recipe)
    options = dict(recipe.engine.options)
    check_options(recipe, options)
    loss = options.pop(LOSS_MODE, "vanilla")
    made = {
        **_algorithm(recipe, loss),
        **_policy(recipe),
        **_sampling(recipe),
        **_data(recipe, paths),
        **(_rewards(recipe) if recipe.environment.source is None else {}),
        **_run(recipe, name, paths),
        **_ours(recipe, paths),
    }
    for key, value in options.items():
        replaced = next((ours for ours in made if ours.lstrip("+") == key.lstrip("+")), key)
        made[replaced] = value
    return made


def verl_steps(recipe: Recipe) -> int:
    """verl's steps: one generation with all its updates each.

    Raises:
        InputError: `max_steps` ends inside a generation.
    """
    return generations(recipe, "max_steps", recipe.max_steps)


def writes_out(recipe: Recipe) -> bool:
    """Whether prompts are given to verl as text. verl's chat templates know no tools of single rows
    and no calls of earlier steps, so where the template words them ours is applied beforehand. An
    episode's prompt is what its `reset` gives, so nothing is.
    """
    return recipe.environment.source is None and recipe.rendering.style == "template"


def _algorithm(recipe: Recipe, loss: str) -> dict[str, Any]:
    optimizer = recipe.optimizer
    correction = "token" if recipe.rollout.vllm.correction else None
    made: dict[str, Any] = {
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": recipe.advantage.scale == "group",
        "algorithm.use_kl_in_reward": False,
        "algorithm.rollout_correction.bypass_mode": False,
        "algorithm.rollout_correction.rollout_is": correction,
        LOSS_MODE: loss_name(loss),
        f"{ACTOR}.loss_agg_mode": AGGREGATION[optimizer.loss],
        f"{ACTOR}.use_kl_loss": optimizer.beta > 0,
        f"{ACTOR}.entropy_coeff": 0,
        f"{ACTOR}.clip_ratio": optimizer.clip_epsilon,
        f"{ACTOR}.clip_ratio_low": optimizer.clip_epsilon,
        f"{ACTOR}.clip_ratio_high": optimizer.clip_epsilon_high or optimizer.clip_epsilon,
    }
    if optimizer.beta > 0:
        made |= {f"{ACTOR}.kl_loss_coef": optimizer.beta, f"{ACTOR}.kl_loss_type": "low_var_kl"}
    if recipe.advantage.filter_groups:
        made |= {
            "algorithm.filter_groups.enable": True,
            "algorithm.filter_groups.metric": "reward",
        }
    if loss == "vanilla":
        made[DUAL_CLIP] = NO_DUAL_CLIP
    if optimizer.loss == "dr_grpo":
        made[f"{ACTOR}.loss_scale_factor"] = recipe.longest_response
    return made


def _policy(recipe: Recipe) -> dict[str, Any]:
    optimizer, lora = recipe.optimizer, recipe.lora
    prompts = optimizer.mini_batch or recipe.rollout.prompts_per_step
    path = user_path(recipe.policy, f"policy={recipe.policy}")
    made: dict[str, Any] = {
        f"{MODEL}.path": str(path.resolve()) if path.is_dir() else recipe.policy,
        f"{MODEL}.trust_remote_code": recipe.trust_remote_code,
        f"{MODEL}.enable_gradient_checkpointing": optimizer.gradient_checkpointing,
        f"{ACTOR}.ppo_mini_batch_size": prompts,
        **_forwards(recipe),
        f"{ACTOR}.ppo_epochs": optimizer.iterations,
        f"{ACTOR}.data_loader_seed": recipe.seed,
        **optimizer_settings(recipe),
        f"{ACTOR}.fsdp_config.seed": recipe.seed,
    }
    if writes_out(recipe):
        made[f"{MODEL}.custom_chat_template"] = _RAW_TEMPLATE
    if recipe.engine.precision != "auto":
        made[f"{ACTOR}.fsdp_config.dtype"] = recipe.engine.precision
    if lora.rank:
        made |= {
            f"{MODEL}.lora_rank": lora.rank,
            f"{MODEL}.lora_alpha": int(lora.alpha),
            f"{MODEL}.target_modules": lora.names or "all-linear",
            f"{ROLLOUT}.load_format": "safetensors",
        }
    else:
        contents = ["model", "optimizer", "extra", "hf_model"]
        made[f"{ACTOR}.checkpoint.save_contents"] = contents
        made[f"{ACTOR}.checkpoint.load_contents"] = contents[:3]
    return made


def _forwards(recipe: Recipe) -> dict[str, Any]:
    """The size of a forward: in training, of the old policy, and of that at the start."""
    tokens = recipe.optimizer.micro_tokens
    if tokens is not None:
        return {f"{ACTOR}.use_dynamic_bsz": True, f"{ACTOR}.ppo_max_token_len_per_gpu": tokens}
    keys = [
        f"{ACTOR}.ppo_micro_batch_size_per_gpu",
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
    ]
    if recipe.optimizer.beta > 0:
        keys.append("actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu")
    return dict.fromkeys(keys, recipe.responses_per_forward)


def _sampling(recipe: Recipe) -> dict[str, Any]:
    rollout = recipe.rollout
    made: dict[str, Any] = {
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.n": rollout.group_size,
        f"{ROLLOUT}.temperature": rollout.temperature,
        f"{ROLLOUT}.top_p": rollout.top_p,
        f"{ROLLOUT}.top_k": rollout.top_k or -1,
        f"{ROLLOUT}.seed": recipe.seed,
        f"{ROLLOUT}.gpu_memory_utilization": rollout.vllm.memory,
        f"{ROLLOUT}.tensor_model_parallel_size": rollout.vllm.tensor_parallel,
        f"{ROLLOUT}.calculate_log_probs": True,
    }
    if recipe.engine.precision == "float32":
        made[f"{ROLLOUT}.dtype"] = "float32"
    if recipe.engine.mode == "separate_async":
        made[f"{ROLLOUT}.checkpoint_engine.backend"] = "nccl"
    source = recipe.environment.source
    if source is not None:
        made[f"{ROLLOUT}.agent.default_agent_loop"] = AGENT_LOOP
        if "://" in source:  # one worker can tell how many episodes the server has room for
            made[f"{ROLLOUT}.agent.num_workers"] = 1
    return made


def _data(recipe: Recipe, paths: VerlPaths) -> dict[str, Any]:
    made: dict[str, Any] = {
        "data.train_files": str(paths.train),
        "data.val_files": str(paths.heldout or paths.train),
        "data.train_batch_size": recipe.rollout.prompts_per_step,
        "data.max_prompt_length": recipe.data.max_prompt_tokens,
        "data.max_response_length": recipe.longest_response,
        "data.seed": recipe.seed,
        "data.trust_remote_code": recipe.trust_remote_code,
    }
    own = writes_out(recipe) or recipe.environment.source is not None
    if recipe.data.template_options and not own:
        made["+data.apply_chat_template_kwargs"] = recipe.data.template_options
    return made


def _rewards(recipe: Recipe) -> dict[str, Any]:
    function = "reward.custom_reward_function"
    return {
        f"{function}.path": "pkg://toolrest.engines.verl.reward_function",
        f"{function}.name": "compute_score",
        f"+{function}.reward_kwargs": {"dialect": recipe.dialect, **_rules(recipe)},
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "ToolRewardManager",
        "reward.reward_manager.module.path": "pkg://toolrest.engines.verl.reward_manager",
    }


def _rules(recipe: Recipe) -> dict[str, Any]:
    """How a response is compared with a ground truth."""
    return {
        "correctness": dict(recipe.reward.correctness),
        "punish_over_calls": recipe.reward.punish_over_calls,
        "normalise_strings": recipe.reward.normalise_strings,
        "lenient_types": recipe.reward.lenient_types,
    }


def _run(recipe: Recipe, name: str, paths: VerlPaths) -> dict[str, Any]:
    steps = verl_steps(recipe)
    every = steps
    if recipe.evaluation.every:
        every = generations(recipe, "evaluation.every", recipe.evaluation.every)
    made: dict[str, Any] = {
        "trainer.v1.trainer_mode": trainer_name(recipe.engine.mode),
        "trainer.nnodes": recipe.engine.nodes,
        "trainer.n_gpus_per_node": recipe.engine.processes,
        "trainer.total_training_steps": steps,
        "trainer.total_epochs": steps,
        "trainer.save_freq": generations(recipe, "save_steps", recipe.save_steps),
        "trainer.max_actor_ckpt_to_keep": recipe.keep_checkpoints,
        "trainer.default_local_dir": str(paths.checkpoints),
        "trainer.resume_mode": "auto",
        "trainer.val_before_train": paths.heldout is not None and recipe.evaluation.before,
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
    """The settings of the plug-in, and the modules that Ray's workers load."""
    weighting = recipe.weighting
    made: dict[str, Any] = {
        "+toolrest.scheme": weighting.scheme,
        "+toolrest.options": weighting.options,
        "+toolrest.dialect": recipe.dialect,
        "+toolrest.entropy_source": weighting.entropy_source,
        "+toolrest.entropy_decay": weighting.entropy_decay,
        "+toolrest.reward_schedule": recipe.reward.schedule,
        "+toolrest.reward": _rules(recipe),
        "+toolrest.normalise": weighting.normalise,
        "+toolrest.credit": recipe.advantage.credit,
        "+toolrest.discount": recipe.advantage.discount,
        "+toolrest.scale": recipe.advantage.scale,
    }
    if recipe.environment.source is not None:
        made["+toolrest.environment"] = episode_settings(recipe, paths.environment_log)
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

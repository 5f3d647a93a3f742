"""What is meant by a recipe key that there is not, and by a value that does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from toolrest.errors import short, unknown_name
from toolrest.recipe.schema import Recipe

_ELSEWHERE = {
    "optimizer.learning_rate": ("lr", "rate", "actor_lr"),
    "optimizer.micro_batch": (
        *("micro_batch_size", "per_device_train_batch_size", "per_device_batch_size"),
        *("mbs", "ppo_micro_batch_size"),
    ),
    "optimizer.mini_batch": ("mini_batch_size", "ppo_mini_batch_size"),
    "optimizer.iterations": ("num_iterations", "mu", "ppo_epochs"),
    "optimizer.loss": ("loss_type",),
    "optimizer.clip_epsilon": ("epsilon", "clip", "clip_ratio", "cliprange"),
    "optimizer.clip_epsilon_high": ("epsilon_high", "clip_ratio_high"),
    "optimizer.max_grad_norm": ("grad_clip", "gradient_clipping"),
    "optimizer.beta": ("kl", "kl_coef", "kl_beta", "kl_loss_coef", "use_kl_loss"),
    "optimizer.llds": ("no_reduce_lambda",),
    "optimizer.schedule": ("lr_scheduler", "lr_scheduler_type"),
    "optimizer.warmup_steps": ("warmup", "lr_warmup_steps"),
    "optimizer.name": ("optim", "optimizer_name"),
    "optimizer.mask_truncated": ("mask_truncated_completions", "overlong_filtering"),
    "advantage.filter_groups": ("dynamic_sampling",),
    "rollout.prompts_per_step": ("batch_size", "train_batch_size", "bs", "prompts"),
    "rollout.group_size": ("num_generations", "generations", "group", "n", "g", "k"),
    "rollout.max_response_tokens": (
        *("max_completion_length", "max_new_tokens", "max_tokens", "max_response_length"),
        *("response_length", "completion_length"),
    ),
    "rollout.temperature": ("temp",),
    "data.max_prompt_tokens": ("max_prompt_length", "prompt_length"),
    "data.path": (
        *("dataset", "data_path", "dataset_name", "dataset_path", "train_file", "train_files"),
        *("train_data", "train_dataset", "file"),
    ),
    "policy": ("model", "model_name", "model_path", "model_name_or_path", "checkpoint", "base"),
    "max_steps": ("steps", "num_steps", "total_steps", "iters"),
    "max_epochs": ("epochs", "epoch", "num_epochs", "num_train_epochs", "total_epochs"),
    "save_steps": ("save_every", "checkpoint_every", "save_freq"),
    "keep_checkpoints": ("save_total_limit", "max_actor_ckpt_to_keep", "max_ckpt_to_keep", "keep"),
    "evaluation.path": (
        *("eval_dataset", "eval_file", "eval_files", "eval_data", "eval_path", "validation_file"),
        *("val_file", "val_files", "val_data", "test_file"),
    ),
    "evaluation.save_best": ("load_best_model_at_end", "save_best_model", "keep_best"),
    "evaluation.metric": ("metric_for_best_model",),
    "evaluation.patience": ("early_stopping_patience", "early_stopping"),
    "evaluation.every": ("eval_steps", "eval_every", "test_freq"),
    "evaluation.samples": ("eval_samples", "num_eval_samples", "heldout"),
    "report_to": ("logger", "loggers", "log_to", "wandb", "tensorboard"),
    "name": ("run_name", "run", "experiment_name", "output_dir", "out"),
    "lora.rank": ("r", "lora_r", "lora_rank", "use_lora", "use_peft"),
    "lora.alpha": ("lora_alpha",),
    "lora.base_precision": ("qlora", "load_in_4bit", "nf4"),
    "lora.target_modules": ("lora_target_modules",),
    "engine.processes": ("gpus", "num_gpus", "n_gpus", "num_processes", "nproc_per_node"),
    "engine.nodes": ("num_nodes", "nnodes"),
    "engine.precision": ("dtype", "torch_dtype", "bf16", "fp16", "mixed_precision"),
    "weighting.scheme": ("weights", "algorithm", "algo", "scheme"),
    "warm_start.method": ("sft",),
    "rollout.sampler": ("use_vllm", "vllm_mode", "backend"),
    "reward.function": ("reward_funcs", "reward_function", "reward_fn"),
    "reward.weights": ("reward_weights",),
    "environment.source": ("env", "environment_factory", "tools"),
    "environment.max_turns": ("max_tool_calling_iterations", "max_assistant_turns"),
    "data.template_options": ("chat_template_kwargs",),
}
"""Keys, and what they are called elsewhere: by TRL, verl, or in short."""
_SYNONYMS = {name: key for key, names in _ELSEWHERE.items() for name in names}
_FIRST = ("optimizer.", "rollout.")
"""Sections whose key is meant where another section has one of that name too."""
_NONE = {
    **dict.fromkeys(
        ("gradient_accumulation_steps", "accumulation", "grad_accum"),
        "it follows from rollout.prompts_per_step x rollout.group_size and optimizer.micro_batch; "
        "set optimizer.micro_batch",
    ),
    "warmup_ratio": ("the warm-up is a number of optimiser steps; write optimizer.warmup_steps=N"),
}
"""Names that are no key, and why."""
_MAIN = {
    **{"data": "data.path", "weighting": "weighting.scheme", "lora": "lora.rank"},
    **{"reward": "reward.correctness", "warm_start": "warm_start.method"},
    **{"evaluation": "evaluation.samples", "optimizer": "optimizer.learning_rate"},
    **{"rollout": "rollout.sampler", "advantage": "advantage.credit"},
    "environment": "environment.source",
}
"""What a value is meant for that is given to a section."""


def all_keys(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[str]:
    """Every key that holds a value, dotted."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from all_keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def key_meant(name: str) -> str | None:
    """The key that is meant by a name without its section, or by one of other libraries."""
    plain = name.lstrip("-").replace("-", "_").lower()
    keys = list(all_keys())
    if plain in keys:
        return plain
    last = plain.rpartition(".")[2]
    if last in _SYNONYMS:
        return _SYNONYMS[last]
    same = [key for key in keys if key.rpartition(".")[2] == last]
    if not same:
        return None
    return min(same, key=lambda key: (not key.startswith(_FIRST), same.index(key)))


def explain_key(key: str, known: list[str]) -> str:
    """Why there is no such key, with the one that is meant.

    Args:
        known: the keys beside which it was looked for.
    """
    last = key.rpartition(".")[2].lower().replace("-", "_")
    if last in _NONE:
        return f"unknown recipe key {short(key)}: {_NONE[last]}"
    near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.7)
    meant = None if near and last not in _SYNONYMS else key_meant(key)
    if meant is None:
        return unknown_name("recipe key", key, known)
    also = [each for each in all_keys() if each.rpartition(".")[2] == last and each != meant]
    other = f" (or {', '.join(also)})" if also else ""
    return f"unknown recipe key {short(key)}: did you mean {meant!r}? write {meant}=VALUE{other}"


def explain_section(key: str, value: Any, known: list[str]) -> str:
    """Why a section cannot be given a value, with what can be.

    Args:
        known: the section's keys, without it.
    """
    main = _MAIN.get(key)
    shown = value if isinstance(value, str | int | float) else "VALUE"
    mend = f"write {main}={shown}; " if main else ""
    listed = ", ".join(f"{key}.{name}" for name in known)
    return f"recipe key {key} is a section with keys, not {short(value)}: {mend}known: {listed}"


def explain_value(error: ValidationError) -> str:
    """The first of pydantic's errors as `KEY=VALUE: what is wrong`, with the mend."""
    found = error.errors()
    unknown = [each for each in found if each["type"] == "extra_forbidden"]
    first = (unknown or found)[0]
    loc, kind, value = first["loc"], first["type"], first["input"]
    key = ".".join(str(part) for part in loc)[:200]
    if kind == "extra_forbidden":
        return f"{key}: {unknown_name('key', str(loc[-1]), _keys_at(loc[:-1]))}"
    if kind == "missing":
        known = ", ".join(_keys_at(loc[:-1]))
        return f"{key} is missing: write {{{loc[-1]}: VALUE}}; known: {known}"
    if key == "name":
        return (
            f"name={short(value)}: a run's name has letters, digits, and . _ - after the first, "
            "and no folder in it: the run is in runs/NAME"
        )
    if isinstance(value, dict) and loc and isinstance(loc[-1], str) and kind.endswith("_type"):
        keys = ", ".join(map(str, list(value)[:3]))
        return f"{key} has one value and no keys ({keys}); write {key}=VALUE"
    if isinstance(value, bool) and kind == "value_error":
        usual = _usual(key)
        such = f", such as {usual}" if usual else ""
        return f"{key}={str(value).lower()}: no number and no text; write {key}=VALUE{such}"
    said = first["msg"][0].lower() + first["msg"][1:]
    if kind == "literal_error" and isinstance(value, str):
        options = [each for each in _options_at(loc) if isinstance(each, str)]
        near = difflib.get_close_matches(value[:100], options, n=1)
        said = f"did you mean {near[0]!r}? {said}" if near else said
    return f"{key}={short(value)}: {said}"


def _usual(key: str) -> object:
    """The default of a key; None where it has none, or a section in a list has it."""
    found: Any = Recipe()
    for part in key.split("."):
        found = getattr(found, part, None)
    return found


def _options_at(loc: tuple[int | str, ...]) -> list[Any]:
    model: Any = Recipe
    for part in loc:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(part)
            model = field.annotation if field is not None else None
    return [leaf for leaf in _leaves(model) if not isinstance(leaf, type)]


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the section, or of the item of a list of sections, at a place."""
    model: Any = Recipe
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            kinds = _leaves(model.model_fields[part].annotation)
            model = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return list(model.model_fields)


def _leaves(annotation: Any) -> list[Any]:
    """What a type is made of, down to its literals."""
    inner = get_args(annotation)
    return [leaf for each in inner for leaf in _leaves(each)] if inner else [annotation]

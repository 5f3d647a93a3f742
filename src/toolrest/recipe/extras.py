"""Optional packages, and which of them a recipe needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from toolrest.errors import InputError
from toolrest.recipe.schema import Recipe


@dataclass(frozen=True)
class Extra:
    """An optional part of toolrest."""

    package: str
    """The module that it brings."""
    purpose: str
    """What it is for."""
    install: str
    """How it is had."""
    or_package: str | None = None
    """A module that does as well."""

    def is_there(self) -> bool:
        """Whether it can be imported; it is not."""
        names = (self.package, self.or_package)
        return any(name is not None and find_spec(name) is not None for name in names)


EXTRAS = {
    "bitsandbytes": Extra(
        "bitsandbytes", "moments in 8 bits, QLoRA", "pip install 'toolrest[bitsandbytes]'"
    ),
    "lora": Extra("peft", "low-rank adapters (lora.rank)", "pip install 'toolrest[lora]'"),
    "vllm": Extra("vllm", "vLLM as sampler and backend", "pip install 'toolrest[vllm]'"),
    "bfcl": Extra(
        "bfcl_eval",
        "evaluation on BFCL",
        "pip install --no-deps bfcl-eval==2025.8.5 (docs/evaluate.md)",
    ),
    "openenv": Extra("openenv", "environments of OpenEnv", "pip install 'toolrest[openenv]'"),
    "verl": Extra("verl", "the engine verl", "pip install 'toolrest[verl]' (docs/verl.md)"),
}
"""Extras of the package, by name."""

REPORTERS = {
    "tensorboard": Extra(
        *("tensorboard", "metrics to TensorBoard", "pip install 'toolrest[tensorboard]'"),
        "tensorboardX",
    ),
    "wandb": Extra("wandb", "metrics to Weights & Biases", "pip install 'toolrest[wandb]'"),
    "trackio": Extra("trackio", "metrics to Trackio", "pip install 'toolrest[trackio]'"),
}
"""What `report_to` can name."""


def asked_for(extra: str, recipe: Recipe) -> str | None:
    """The setting for which a recipe needs one of `EXTRAS`, or None.

    What the engine verl needs for every recipe is said by `toolrest.engines.verl.environment`.
    """
    if extra == "bitsandbytes" and recipe.optimizer.name != "adamw" and recipe.method == "rl":
        return f"optimizer.name={recipe.optimizer.name}"
    if recipe.engine.name != "trl":
        return None
    source = recipe.environment.source or ""
    if (extra == "openenv" and "://" in source) or (extra == "bfcl" and source == "bfcl"):
        return f"environment.source={source}"
    if extra == "bitsandbytes" and recipe.lora.base_precision == "nf4":
        return "lora.base_precision=nf4"
    if extra == "bfcl" and "bfcl" in recipe.evaluation.benchmarks:
        return "evaluation.benchmarks=bfcl"
    if extra == "lora" and recipe.lora.rank:
        return f"lora.rank={recipe.lora.rank}"
    # TRL imports vLLM also where a server samples
    if extra == "vllm" and recipe.rollout.sampler == "vllm" and recipe.method == "rl":
        return "rollout.sampler=vllm"
    return None


def check_extra(extra: Extra, asked: str) -> None:
    """Check that a package is installed; it is not imported.

    Args:
        asked: the setting that needs it.

    Raises:
        InputError: it is not, with how it is had.
    """
    if not extra.is_there():
        raise InputError(f"{asked} needs {extra.package}, which is not here: {extra.install}")


def check_extras(recipe: Recipe) -> None:
    """Check that the packages that a recipe needs are installed; none is imported.

    Raises:
        InputError: one is not, with how it is had.
    """
    for name, extra in EXTRAS.items():
        asked = asked_for(name, recipe)
        if asked is not None:
            check_extra(extra, asked)
    for name in recipe.report_to:
        if not REPORTERS[name].is_there():
            raise InputError(
                f"report_to={name} needs the package {name}, which is not here: "
                f"{REPORTERS[name].install}; or leave {name} out"
            )
    if recipe.engine.name == "trl" and recipe.engine.sharding in ("zero2", "zero3"):
        check_deepspeed(recipe.engine.sharding)


def check_deepspeed(sharding: str) -> None:
    """Check that DeepSpeed is there for a way of sharing a policy that is its own.

    Raises:
        InputError: it is not.
    """
    if find_spec("deepspeed") is None:
        raise InputError(f"engine.sharding={sharding} needs DeepSpeed: pip install deepspeed")

"""Policies of which each process holds a part: FSDP and DeepSpeed's ZeRO-3."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer

    Policy = PreTrainedModel | Callable[[], PreTrainedModel]
    """A policy, or what loads it once the trainer's settings are made: those of DeepSpeed tell
    transformers to load it in parts."""


def loaded(policy: Policy) -> PreTrainedModel:
    """The policy itself."""
    return policy if isinstance(policy, PreTrainedModel) else policy()


def holds_parts(trainer: GRPOTrainer) -> bool:
    """Whether no process of a trainer holds the whole policy."""
    plugin = trainer.accelerator.state.deepspeed_plugin
    zero3 = plugin is not None and plugin.zero_stage == 3
    by_transformers = getattr(trainer, "is_distributed_loading_by_transformers", False)
    return zero3 or trainer.is_fsdp_enabled or by_transformers


def local_part(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of a parameter: all, or its part of a DTensor or of ZeRO-3's."""
    if isinstance(parameter, DTensor):
        return parameter.to_local()
    return getattr(parameter, "ds_tensor", parameter)


def give_memory_back() -> None:
    """Free what nothing holds any more, cycles included, so that another policy has room."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

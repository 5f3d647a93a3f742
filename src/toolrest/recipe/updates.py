"""The sections of a recipe that say how the policy is updated."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from toolrest.recipe.sections import Section


class Optimizer(Section):
    """The policy's updates."""

    name: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """AdamW. adamw_8bit: with its moments in 8 bits; paged_adamw_8bit: which also move to the
    CPU's memory when the GPU's is full; both by bitsandbytes."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Its greatest learning rate. Unsaid: see `Recipe`."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up: as it is, or to 0 at `max_steps`."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimiser steps in which the learning rate rises in a line, from 0 in the first."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's, of matrices alone with TRL."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL divergence from the policy at the start (k3), which is added to the loss of
    each token, unweighted; 0: none, and no policy is kept for it."""
    loss: str = "grpo"
    """TRL's loss_type; `grpo` is the paper's mean over each sequence."""
    clip_epsilon: float = Field(default=0.2, gt=0)
    """Clipping range of the probability ratio."""
    clip_epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clipping range where it differs (DAPO's clip-higher; CISPO's cap)."""
    clip_by: Literal["none", "region_entropy"] = "none"
    """What a token's clipping range goes by. region_entropy: a region of certain tokens has a
    narrower one and of uncertain tokens a wider one, and a token the same on average; with TRL. It
    acts from a generation's second update on (`mini_batch`, `iterations`)."""
    llds: float = Field(default=0.0, ge=0, lt=math.inf)
    """Weight of LLDS (arXiv 2512.04220), a loss for what tokens of good responses lose of their
    log-probability; 0: none; its authors' is 0.2; with TRL. It acts from a generation's second
    update on (`mini_batch`, `iterations`)."""
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=True)
    """Gradients are clipped to this norm."""
    mini_batch: int | None = Field(default=None, ge=1)
    """Prompts of one optimiser step; None: all of a generation."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Responses, or demonstrations, in one forward and backward of one process; None: all of its
    part of a step. Unsaid: see `Recipe`."""
    micro_tokens: int | None = Field(default=None, ge=1)
    """In place of micro_batch: tokens in one forward and backward of one process, a shared prompt
    counted once; None: what micro_batch responses of the greatest length have."""
    prefix_sharing: Literal["auto", "on", "off"] = "auto"
    """Whether a forward computes the prompt of several responses once; auto: where it is exact."""
    iterations: int = Field(default=1, ge=1)
    """Optimiser passes over each batch of rollouts (mu)."""
    mask_truncated: bool = False
    """Whether responses that were cut at the length limit are left out of the loss (DAPO)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""


class WarmStart(Section):
    """Supervised learning on demonstrations before reinforcement learning."""

    method: Literal["none", "sft", "tsft", "rsft"] = "none"
    """sft: every token's loss counts alike; tsft, rsft: that of calls, of reasoning is scaled."""
    steps: int = Field(default=50, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1)
    """Demonstrations a step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's, constant. Unsaid: see `Recipe`."""
    scale: float = Field(default=2.0, gt=0)
    """Of the scaled regions' loss."""


class Lora(Section):
    """Low-rank adapters (arXiv 2106.09685) in place of all parameters."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters; 0: none, all parameters are trained."""
    alpha: float = Field(default=32.0, gt=0)
    """Adapters are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    base_precision: Literal["full", "nf4"] = "full"
    """nf4: what the adapters are added to is kept in 4 bits (QLoRA, by bitsandbytes), and TRL keeps
    the adapters in bfloat16."""
    target_modules: str | list[str] = "all-linear"
    """Which modules get them: all linear layers but the head (all-linear), or modules' names."""

    @property
    def names(self) -> list[str] | None:
        """The modules' names, whole or from a dot on; None: all linear layers."""
        modules = self.target_modules
        if isinstance(modules, str):
            return None if modules == "all-linear" else [modules]
        return modules

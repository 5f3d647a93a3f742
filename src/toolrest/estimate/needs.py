"""Memory of a recipe on the device that is there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from toolrest.estimate.gpus import GPUS, Efficiency
from toolrest.estimate.memory import Memory, memory
from toolrest.estimate.shape import ModelShape
from toolrest.recipe import Recipe, changed

_CPU_OVERHEAD = 2e9
"""Bytes of a training process on a CPU besides the policy's: torch, TRL and the data."""


@dataclass(frozen=True)
class Device:
    """What a run is computed on."""

    name: str
    """`this machine's CPU`, or the GPU's."""
    memory: float
    """Bytes that are free: of one GPU, or of the machine."""
    gpu: bool = False
    """Whether it is one."""
    bfloat16: bool = False
    """Whether it computes in bfloat16 faster than in float32."""

    @property
    def overhead(self) -> float:
        """Bytes of a process besides the policy's; assumed."""
        return Efficiency().overhead if self.gpu else _CPU_OVERHEAD

    def sharers(self, recipe: Recipe) -> int:
        """Processes that share its memory."""
        return 1 if self.gpu else recipe.engine.processes


def needed(
    recipe: Recipe, shape: ModelShape, device: Device, longest_prompt: int | None = None
) -> Memory:
    """Bytes of one process, calculated.

    Args:
        longest_prompt: tokens of the longest prompt that there is; None: the recipe's limit.
    """
    if longest_prompt is not None:
        least = min(longest_prompt, recipe.data.max_prompt_tokens)
        recipe = changed(recipe, {"data.max_prompt_tokens": least})
    if recipe.method != "rl":
        recipe = _supervised(recipe)
    if not device.gpu:
        shared = recipe.rollout.sampler in ("auto", "shared_prefix")
        sampler = "shared_prefix" if shared else recipe.rollout.sampler
        fixed = {"engine.precision": "float32", "rollout.sampler": sampler}
        recipe = changed(recipe, fixed)
    gpu = replace(GPUS["h100"], name=device.name, memory=device.memory)
    return memory(recipe, shape, gpu, Efficiency(overhead=device.overhead))


def _supervised(recipe: Recipe) -> Recipe:
    """The recipe with the forwards of supervised steps as its updates, and the sampling of its
    evaluations as its rollouts.
    """
    share = max(1, recipe.warm_start.batch_size // recipe.engine.processes // recipe.engine.nodes)
    micro = math.gcd(share, recipe.responses_per_forward)
    sampled = max(1, min(recipe.evaluation.batch_size, recipe.evaluation.samples))
    return changed(
        recipe,
        {
            "optimizer.micro_batch": micro,
            "optimizer.micro_tokens": None,
            "optimizer.mini_batch": None,
            "rollout.prompts_per_step": sampled * recipe.engine.processes * recipe.engine.nodes,
            "rollout.group_size": 1,
        },
    )

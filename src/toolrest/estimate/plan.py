"""A recipe on given GPUs: memory, time and disk in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolrest.errors import InputError
from toolrest.estimate.gpus import Efficiency, Gpu
from toolrest.estimate.memory import (
    Memory,
    cache_bytes,
    host_bytes,
    memory,
    trained_parameters,
    uses_vllm,
)
from toolrest.estimate.shape import ModelShape
from toolrest.estimate.time import Seconds, Work, seconds, work
from toolrest.recipe import Recipe

PROMPT_TOKENS = 764
"""Mean prompt of RLLA's 80 published test rows by Qwen's tokenizer, measured: docs/scaling.md."""
RESPONSE_TOKENS = 600
"""An assumption: RLLA's 400 demonstrations have 368 on average, and responses grow in training."""


@dataclass(frozen=True)
class Estimate:
    """What a recipe needs. Calculated, not measured."""

    gpu: Gpu
    """Which GPU."""
    gpus: int
    """How many."""
    memory: Memory
    """Bytes of one GPU."""
    host: float | None
    """Bytes of one machine besides its GPUs' (`host_bytes`); None: not calculated."""
    seconds: Seconds
    """Seconds of one generation with its updates."""
    work: Work
    """Operations and bytes of one generation."""
    generations: int
    """In the run."""
    tokens: float
    """Prompt and response tokens of one generation, without padding."""
    response_tokens: float
    """Response tokens of one generation."""
    checkpoint_bytes: float
    """One checkpoint, float32: what is trained and AdamW's moments, 12 bytes a parameter; with verl
    the policy once more as a Hugging Face checkpoint, 16."""
    disk_bytes: float
    """The policy's download, and the checkpoints that are on the disk at once."""

    @property
    def fits(self) -> bool:
        """Whether the peak is within the GPU's memory."""
        return self.memory.peak <= self.gpu.memory

    @property
    def run_seconds(self) -> float:
        """All generations, without evaluation, loading and saving."""
        return self.seconds.total * self.generations

    @property
    def update_tokens_per_second(self) -> float:
        """Tokens that one GPU trains on in a second of updates."""
        return self.tokens / self.gpus / self.seconds.update

    @property
    def update_bound(self) -> float:
        """The same, were all of the GPU's operations reached."""
        return self.tokens * self.gpu.flops / self.work.update_flops

    @property
    def decode_tokens_per_second(self) -> float:
        """Tokens that one GPU samples in a second of decoding."""
        return self.response_tokens / self.gpus / self.seconds.decode


def estimate(
    recipe: Recipe,
    shape: ModelShape,
    gpu: Gpu,
    mean_prompt_tokens: float = PROMPT_TOKENS,
    mean_response_tokens: float = RESPONSE_TOKENS,
    efficiency: Efficiency | None = None,
) -> Estimate:
    """Memory, time and disk of a recipe for reinforcement learning.

    Means are cut to the recipe's limits.

    Raises:
        InputError: vLLM's share of the memory does not hold the policy's weights.
    """
    efficiency = efficiency or Efficiency()
    prompt = min(mean_prompt_tokens, recipe.data.max_prompt_tokens)
    response = min(mean_response_tokens, recipe.longest_response)
    if uses_vllm(recipe) and cache_bytes(recipe, shape, gpu) <= 0:
        raise InputError(
            f"rollout.vllm.memory={recipe.rollout.vllm.memory}: that share of {gpu.name}'s "
            f"{gpu.memory / 1e9:.0f} GB does not hold the policy's weights "
            f"({2 * shape.parameters / 1e9:.1f} GB); raise it, or rollout.vllm.tensor_parallel"
        )
    responses = recipe.responses_per_generation
    checkpoint = checkpoint_bytes(recipe, shape)
    return Estimate(
        gpu=gpu,
        gpus=recipe.engine.processes * recipe.engine.nodes,
        memory=memory(recipe, shape, gpu, efficiency),
        host=host_bytes(recipe, shape),
        seconds=seconds(recipe, shape, gpu, efficiency, prompt, response),
        work=work(recipe, shape, gpu, prompt, response),
        generations=math.ceil(recipe.max_steps / recipe.steps_per_generation),
        tokens=responses * (prompt + response),
        response_tokens=responses * response,
        checkpoint_bytes=checkpoint,
        disk_bytes=2.0 * shape.parameters + added_checkpoints(recipe) * checkpoint,
    )


def checkpoint_bytes(recipe: Recipe, shape: ModelShape) -> float:
    """Bytes of one checkpoint: `Estimate.checkpoint_bytes`, for which no GPU has to be known."""
    copies = 16.0 if recipe.engine.name == "verl" and not recipe.lora.rank else 12.0
    return copies * trained_parameters(recipe, shape)


def added_checkpoints(recipe: Recipe, done: int = 0, there: int = 0) -> int:
    """Checkpoints of a run's reinforcement learning for which there has to be room.

    One is written every `save_steps` and one after the last step; those that are older than
    `keep_checkpoints` go, each once a newer one is whole.

    Args:
        done: the steps done.
        there: the checkpoints that are on the disk already.
    """
    if done >= recipe.max_steps:
        return 0
    to_come = math.ceil(recipe.max_steps / recipe.save_steps) - done // recipe.save_steps
    if recipe.evaluation.save_best:
        every = recipe.evaluation.every
        to_come += (recipe.max_steps - 1) // every - done // every
    kept = _kept(recipe)
    return to_come if kept is None else max(0, min(kept + 1 - there, to_come))


def kept_checkpoints(recipe: Recipe, added: int) -> int:
    """How many of the checkpoints that a run adds are there at its end, at most."""
    kept = _kept(recipe)
    return added if kept is None else min(added, kept)


def _kept(recipe: Recipe) -> int | None:
    """The newest, and the best one; None: all."""
    kept = recipe.keep_checkpoints
    return None if kept is None else kept + recipe.evaluation.save_best

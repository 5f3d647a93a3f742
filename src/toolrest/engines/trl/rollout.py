"""TRL's rollouts by `toolrest.rollout.shared_prefix`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import broadcast_object_list

from toolrest.rollout.shared_prefix import sample

STATISTICS = "sampling_statistics"
"""Key of `toolrest.rollout.shared_prefix.Sampled.statistics` in what the rollout function gives."""

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer


def shared_prefix_rollout(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
    """A `rollout_func` of TRL.

    Takes one number from torch's global generator of process 0 and draws all processes' uniform
    numbers from it, so that runs of one seed sample with the same numbers at the same step, however
    long their responses are and however many processes share them, and a resumed run goes on
    exactly.

    Args:
        prompts: chat messages or texts, each as often as it has responses, next to each other.
    """
    prompt_ids: list[list[int]] = cast(Any, trainer)._tokenize_prompts(prompts)[0]
    group = _group_size(prompt_ids)
    trainer_model = cast(Any, trainer.model)
    accelerator = trainer.accelerator
    model = accelerator.unwrap_model(trainer_model)
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    most = cast(int, trainer.max_completion_length)
    seed = [int(torch.randint(2**62, ()))]
    everyones = accelerator.num_processes * len(prompts)
    if everyones > len(prompts):
        broadcast_object_list(seed)
        # TRL shuffles each process's rows by randperm, which takes a number a row but the first.
        # What one process would take of all rows is taken here, so that the next seed is its too.
        torch.randperm(everyones - len(prompts) + 1)
    uniforms = torch.rand(
        everyones,
        most,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed[0]),
    )[accelerator.process_index * len(prompts) :][: len(prompts)]
    was_training = model.training
    model.eval()
    sampled = sample(
        model,
        prompt_ids[::group],
        group_size=group,
        max_tokens=most,
        end_ids=cast(Any, trainer).eos_token_ids,
        temperature=trainer.temperature,
        uniforms=uniforms,
    )
    model.train(was_training)
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": sampled.ids,
        "logprobs": None,
        STATISTICS: sampled.statistics,
    }


def _group_size(prompt_ids: list[list[int]]) -> int:
    """How often each prompt is repeated in a row, if all are equally often; else 1."""
    size = 1
    while size < len(prompt_ids) and prompt_ids[size] == prompt_ids[0]:
        size += 1
    blocks = range(0, len(prompt_ids), size)
    whole = len(prompt_ids) % size == 0 and all(
        prompt_ids[at + i] == prompt_ids[at] for at in blocks for i in range(size)
    )
    return size if whole else 1

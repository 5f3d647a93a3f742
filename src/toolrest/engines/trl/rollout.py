"""TRL's rollouts by `toolrest.rollout.shared_prefix`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate.utils import broadcast_object_list

from toolrest.core.forks import decision_starts
from toolrest.engines.common.episodes import group_size
from toolrest.errors import InputError
from toolrest.rollout.branching import Branched, Branching, sample_branched
from toolrest.rollout.draw import Draw
from toolrest.rollout.shared_prefix import sample

FORKS = "forks"
"""Key of `toolrest.rollout.branching.Branched.forks` there."""
STATISTICS = "sampling_statistics"
"""Key of `toolrest.rollout.asking.Sampled.statistics` in what the rollout function gives."""

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer


def shared_prefix_rollout(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
    """A `rollout_func` of TRL.

    Args:
        prompts: chat messages or texts, each as often as it has responses, next to each other.

    Raises:
        InputError: the trainer's settings would have tokens drawn otherwise than this draws them.
    """
    check_drawn(cast("GRPOConfig", trainer.args))
    prompt_ids: list[list[int]] = cast(Any, trainer)._tokenize_prompts(prompts)[0]
    group = group_size(prompt_ids)
    model = unwrapped(trainer)
    most = cast(int, trainer.max_completion_length)
    numbers = Numbers(trainer, len(prompts))
    was_training = model.training
    model.eval()
    branches = getattr(trainer.args, "branches", 1)  # a plain GRPOTrainer may sample so, too
    forks: dict[str, Any] = {}
    if branches > 1 and was_training:  # in an evaluation responses are independent
        sampled, forks[FORKS] = _branched(trainer, prompt_ids, numbers)
    else:
        sampled = sample(
            model,
            prompt_ids[::group],
            group_size=group,
            max_tokens=most,
            end_ids=cast(Any, trainer).eos_token_ids,
            draw=trainer_draw(trainer),
            uniforms=numbers.uniforms(most),
        )
    model.train(was_training)
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": sampled.ids,
        "logprobs": None,
        STATISTICS: sampled.statistics,
        **forks,
    }


def _branched(trainer: GRPOTrainer, prompt_ids: list[list[int]], numbers: Numbers) -> Branched:
    """Groups that branch; each process has whole groups, of which neighbours may have the same
    prompt.
    """
    own, group = cast(Any, trainer), cast(int, trainer.num_generations)
    most = cast(int, trainer.max_completion_length)
    how = Branching(group, own.config.branches, most, own.eos_token_ids, trainer_draw(trainer))
    prompts = prompt_ids[::group]
    openings = [own.speech.opening(ids) for ids in prompts]

    def starts(prompt: int, ids: list[int]) -> list[int]:
        blob, offsets = own.vocabulary.concatenate(np.asarray(ids, dtype=np.int64))
        tokens = [blob[a:b] for a, b in pairwise(offsets.tolist())]
        return decision_starts(tokens, own.dialect, openings[prompt])

    rows = numbers.uniforms(most).view(-1, how.branches, most)
    forked = numbers.uniforms(most, turn=1).view(-1, how.branches, most)[:, 0]
    siblings = rows[:, 1:].reshape(-1, most)
    return sample_branched(unwrapped(trainer), prompts, how, starts, (rows[:, 0], forked, siblings))


def check_drawn(args: GRPOConfig) -> None:
    """Refuse what would have tokens drawn otherwise than `trainer_draw` says.

    Raises:
        InputError: naming it.
    """
    for name, usual in (("repetition_penalty", 1.0), ("generation_kwargs", None)):
        value = getattr(args, name)
        if value and value != usual:
            raise InputError(
                f"{name}={value!r} with rollout_func=shared_prefix_rollout: it draws tokens by "
                f"temperature, top_p, top_k and min_p alone; leave {name} out"
            )


def trainer_draw(trainer: GRPOTrainer) -> Draw:
    """How a trainer's settings have tokens drawn."""
    return Draw(trainer.temperature, trainer.top_k, trainer.top_p, trainer.min_p or 0.0)


def unwrapped(trainer: GRPOTrainer) -> PreTrainedModel:
    """The policy itself, out of what accelerate and peft put around it."""
    model: Any = trainer.accelerator.unwrap_model(cast(Any, trainer.model))
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class Numbers:
    """The random numbers of one generation: one from torch's global generator of process 0, from
    which all others follow, so that runs of one seed sample with the same numbers at the same step,
    however long their responses are and however many processes share them, and a resumed run goes
    on exactly.

    Args:
        rows: of this process.
    """

    def __init__(self, trainer: GRPOTrainer, rows: int) -> None:
        accelerator = trainer.accelerator
        seed = [int(torch.randint(2**62, ()))]
        self.everyones = accelerator.num_processes * rows
        """Rows of all processes."""
        self.mine = slice(accelerator.process_index * rows, (accelerator.process_index + 1) * rows)
        """Which of them are this process's."""
        if self.everyones > rows:
            broadcast_object_list(seed)
            # TRL shuffles each process's rows by randperm, which takes a number a row but the
            # first. What one process would take of all rows is taken here, so that the next seed is
            # its too.
            torch.randperm(self.everyones - rows + 1)
        self.seed = seed[0]
        """Of everything that is drawn for the generation."""

    def uniforms(self, most: int, turn: int = 0) -> torch.Tensor:
        """Numbers in [0, 1), one for each token that this process's rows may sample in a turn.

        Returns:
            Float64, [rows, most].
        """
        seed = (self.seed + turn * 0x9E3779B97F4A7C15) % 2**62
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(self.everyones, most, dtype=torch.float64, generator=generator)[self.mine]

"""TRL's rollouts of several turns, in an environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from toolrest.core.credit import Decided
from toolrest.core.turns import turn_decisions
from toolrest.engines.common.episodes import Episodes, Played, episode_metrics, episode_seeds
from toolrest.engines.trl.rollout import STATISTICS, Numbers, unwrapped
from toolrest.rollout.generate import generate_batch
from toolrest.rollout.repeated import RepeatedTurns
from toolrest.rollout.sampler import Sampler, shares_prefix
from toolrest.rollout.shared_prefix import SharedPrefixTurns
from toolrest.rollout.turns import Trajectory, TurnSampler

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer

ROW = "row"
"""The column of a recipe's rows: what `reset` is given, as JSON."""
REWARD = "episode_reward"
"""What the rollout function calls the rewards of the episodes."""


def episode_reward(episode_reward: Sequence[float | None], **columns: Any) -> list[float | None]:
    """A reward function of TRL: what the environment gave; None where it failed."""
    return list(episode_reward)


@dataclass
class EpisodeRollouts:
    """A `rollout_func` of TRL that plays an episode a row."""

    episodes: Episodes
    """The environment."""
    sampler: Sampler = "auto"
    """See `toolrest.rollout.sampler`."""
    played: Played | None = None
    """The last generation's episodes on this process; None before the first."""

    def __call__(self, prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        """Play the episodes of a generation's rows, which `trainer` knows.

        Args:
            prompts: not read; an episode's prompt is what its `reset` gives.
        """
        rows = cast(Any, trainer).generation_rows()
        numbers = Numbers(trainer, len(prompts))
        temperature = trainer.temperature
        model = unwrapped(trainer)
        was_training = model.training
        model.eval()

        def sampler_of(asked: list[list[int]], group: int) -> TurnSampler:
            ends = cast(Any, trainer).eos_token_ids
            if not trainer.use_vllm and shares_prefix(model, self.sampler):
                return SharedPrefixTurns(
                    model, asked, group_size=group, end_ids=ends, temperature=temperature
                )
            everyone = [ids for ids in asked for _ in range(group)]
            if trainer.use_vllm:
                return RepeatedTurns(everyone, lambda ids, most: _by_vllm(trainer, ids))
            tokenizer = cast(Any, trainer)._tokenizer
            return RepeatedTurns(
                everyone,
                lambda ids, most: generate_batch(model, tokenizer, ids, most, temperature, ends),
            )

        group = cast(int, trainer.num_generations)
        seeds = episode_seeds(numbers.seed, numbers.everyones, group)[numbers.mine]
        played = self.episodes.play(
            [_reset_with(row) for row in rows],
            seeds,
            sampler_of,
            lambda turn: numbers.uniforms(self.episodes.limits.turn_tokens, turn),
        )
        model.train(was_training)
        self.played = played
        return _output(played, self.episodes)


def _reset_with(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `reset` is given of a row of the data set."""
    return json.loads(row[ROW]) if ROW in row else row


def _by_vllm(trainer: GRPOTrainer, ids: list[list[int]]) -> list[list[int]]:
    return cast(Any, trainer)._generate_single_turn(ids, None, {}, 1)[0]


def _output(played: Played, episodes: Episodes) -> dict[str, Any]:
    """What TRL asks of a rollout function. A row without any token gets one that counts nothing."""
    end = episodes.seams.speech.end_id
    trajectories = played.trajectories
    nothing = torch.zeros(1, 3)
    return {
        "prompt_ids": [each.prompt_ids or [end] for each in trajectories],
        "completion_ids": [each.ids or [end] for each in trajectories],
        "env_mask": [list(map(int, each.sampled)) or [0] for each in trajectories],
        "logprobs": None,
        REWARD: [each.reward for each in trajectories],
        "turns": [[turn.text for turn in each.turns] for each in trajectories],
        "ending": [str(each.ending) for each in trajectories],
        STATISTICS: [
            torch.cat(each.statistics) if each.statistics else nothing for each in trajectories
        ],
    }


def turns_decided(trajectories: Sequence[Trajectory], sampled: torch.Tensor) -> Decided:
    """Turns as the decisions of the batch's rewards, see `toolrest.core.turns.turn_decisions`.

    Args:
        sampled: which tokens the policy sampled, bool, [B, T].
    """
    rewards = [[turn.reward for turn in each.turns] or [0.0] for each in trajectories]
    return turn_decisions(rewards, sampled)


def mean_metrics(trajectories: Sequence[Trajectory]) -> dict[str, tuple[float, int]]:
    """(sum, number of values) of each metric of this process's episodes."""
    return {
        name: (sum(values), len(values)) for name, values in episode_metrics(trajectories).items()
    }

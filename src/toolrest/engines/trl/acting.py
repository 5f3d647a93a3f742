"""TRL's rollouts of several turns, in an environment."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import gather_object

from toolrest.core import credit
from toolrest.core.turns import turn_decisions
from toolrest.engines.common.episodes import (
    EpisodeOptions,
    Episodes,
    Played,
    episode_metrics,
    episode_seeds,
)
from toolrest.engines.trl.config import Credit
from toolrest.engines.trl.rollout import STATISTICS, Numbers, trainer_draw, unwrapped
from toolrest.engines.trl.rows import ROW
from toolrest.engines.trl.scoring import ScoringTrainer
from toolrest.environments.episode import Limits
from toolrest.errors import InputError
from toolrest.policy.fitting import usual_style
from toolrest.rollout.sampler import shares_prefix, turn_samplers
from toolrest.rollout.turns import Trajectory, TurnLimits

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer

REWARD = "episode_reward"
"""What the rollout function calls the rewards of the episodes."""
NO_PROMPT = [{"role": "user", "content": ""}]
"""Of rows without one, for TRL."""


def episode_reward(episode_reward: Sequence[float | None], **columns: Any) -> list[float]:
    """A reward function of TRL: what the environment gave. Where it failed, a number that
    `ActingTrainer` takes out again, with those of other rewards.
    """
    return [0.0 if each is None else each for each in episode_reward]


def with_episode_reward(rewards: Any) -> list[Any]:
    """The rewards of an environment, and others that are added to them."""
    if rewards is None:
        return [episode_reward]
    return [episode_reward, *(rewards if isinstance(rewards, list) else [rewards])]


@dataclass
class EpisodeRollouts:
    """A `rollout_func` of TRL that plays an episode a row."""

    episodes: Episodes
    """The environment."""
    played: Played | None = None
    """The last generation's episodes on this process; None before the first."""
    warned: bool = False
    """Whether it was said that episodes fail."""

    def __call__(self, prompts: list[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        """Play the episodes of a generation's rows, which `trainer` knows.

        Args:
            prompts: not read; an episode's prompt is what its `reset` gives.
        """
        ours = cast(Any, trainer)
        rows, numbers = ours.generation_rows(), Numbers(trainer, len(prompts))
        model, sampler = unwrapped(trainer), self.episodes.options.sampler
        was_training = model.training
        model.eval()
        group = ours.num_generations if was_training else ours.num_generations_eval
        seeds = episode_seeds(numbers.seed, numbers.everyones, group)[numbers.mine]
        played = self.episodes.play(
            [_reset_with(row) for row in rows],
            seeds,
            turn_samplers(
                model, ours._tokenizer, sampler, ours.eos_token_ids, trainer_draw(trainer)
            ),
            lambda turn: numbers.uniforms(self.episodes.options.turns.turn_tokens, turn),
        )
        model.train(was_training)
        self.played = played
        return _output(played, self.episodes, told=shares_prefix(model, sampler))


def _reset_with(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `reset` is given of a row of the data set."""
    return json.loads(row[ROW]) if ROW in row else row


def _output(played: Played, episodes: Episodes, *, told: bool) -> dict[str, Any]:
    """What TRL asks of a rollout function. A row without any token gets one that counts nothing.

    Args:
        told: whether the sampler has told statistics of its tokens.
    """
    end = episodes.seams.speech.end_id
    trajectories = played.trajectories
    nothing = torch.zeros(1, 3)
    statistics = [
        torch.cat(each.statistics) if each.statistics else nothing for each in trajectories
    ]
    return {
        "prompt_ids": [each.prompt_ids or [end] for each in trajectories],
        "completion_ids": [each.ids or [end] for each in trajectories],
        "env_mask": [list(map(int, each.sampled)) or [0] for each in trajectories],
        "logprobs": None,
        REWARD: [each.reward for each in trajectories],
        "turns": [[turn.text for turn in each.turns] for each in trajectories],
        "ending": [str(each.ending) for each in trajectories],
        STATISTICS: statistics if told else None,
    }


class ActingTrainer(ScoringTrainer):
    """Plays episodes of an environment in place of single responses."""

    acts: EpisodeRollouts | None = None
    """Plays them; None: there is no environment."""

    def _start_acting(self, environment: Any) -> None:
        """Begin the environment.

        Args:
            environment: `Episodes` that somebody else closes, or a source, see `EpisodeOptions`.

        Raises:
            InputError: it cannot be used with this policy.
        """
        if environment is None:
            return
        config = self.config
        if not isinstance(environment, Episodes):
            style = config.prompt_style
            if style == "auto":
                usual, _ = usual_style(self.dialect, self._tokenizer)
                style = "plain" if usual == "rlla" else usual
            length = cast(int, self.max_completion_length)
            options = EpisodeOptions(
                source=environment,
                style=style,
                turns=TurnLimits(config.max_turns, config.max_turn_tokens or length, length),
                limits=Limits(
                    config.call_timeout,
                    config.episode_timeout,
                    config.environment_workers,
                    config.environment_memory,
                ),
                max_result_tokens=config.max_result_tokens,
                max_prompt_tokens=config.max_start_tokens,
            )
            environment = Episodes(options, self._tokenizer, self.speech)
            weakref.finalize(self, environment.close)
        self.acts = self.rollout_func = EpisodeRollouts(environment)

    def generation_rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the data set that the generation is about, on this process."""
        return self._generation.rows

    def _generate_and_score_completions(self, inputs):
        if self.acts is not None:  # which begins an episode by messages of its own
            for row in inputs:
                row.setdefault("prompt", [dict(message) for message in NO_PROMPT])
        return super()._generate_and_score_completions(inputs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """As the parent; episodes in which the environment failed have no reward, [B, F] of all
        processes with NaN there, which TRL leaves out of every mean.

        Raises:
            InputError: one failed, and the run is to stop at that.
        """
        if self.acts is None:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        assert self.acts.played is not None
        trajectories = self.acts.played.trajectories
        failures: list[str | None] = gather_object([each.failure for each in trajectories])
        self._tell_failures(failures)
        self._log_episodes(trajectories)
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        failed = torch.tensor([each is not None for each in failures], device=rewards.device)
        return rewards.masked_fill(failed[:, None], math.nan)

    def _tell_failures(self, failures: Sequence[str | None]) -> None:
        """Warn of the first failure of all, and of a generation that is nothing else; or stop.

        Args:
            failures: of the episodes of all processes.
        """
        assert self.acts is not None
        said = [each for each in failures if each is not None]
        if not said:
            return
        if self.config.environment_failure == "stop":
            raise InputError(f"the environment failed: {said[0]}")
        everyone = len(said) == len(failures)
        if self.accelerator.is_main_process and (everyone or not self.acts.warned):
            what = "all" if everyone else f"{len(said)} of"
            self.acts.episodes.warn(
                f"step {self.state.global_step + 1}: {what} {len(failures)} episodes failed and "
                f"count for nothing; {said[0]}"
            )
        self.acts.warned = True

    def _log_episodes(self, trajectories: Sequence[Trajectory]) -> None:
        """The mean of each metric of the episodes, over all processes."""
        mode = "train" if cast(torch.nn.Module, self.model).training else "eval"
        found = episode_metrics(trajectories)
        sums = torch.tensor([[sum(values), len(values)] for values in found.values()])
        everyones = self._sum_over_ranks(sums.to(self.accelerator.device)).tolist()
        for name, (total, count) in zip(found, everyones, strict=True):
            if count:
                self._metrics[mode][name].append(total / count)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the parent, without the rewards of generations in which all episodes failed."""
        if self.acts is not None:
            for metrics in self._metrics.values():
                for name in [name for name in metrics if name.startswith("reward")]:
                    metrics[name] = [each for each in metrics[name] if not math.isnan(each)]
                    if not metrics[name]:
                        del metrics[name]
        super().log(logs, start_time)

    def _credited(
        self, inputs: Sequence[dict[str, Any]], output: Mapping[str, Any], mask: torch.Tensor
    ) -> torch.Tensor:
        """The advantages before any weight, by `credit`: one a response, [B], or one a token,
        [B, T].
        """
        kind = self.config.credit
        if kind == Credit.SPANS:
            return self._reward_to_go(inputs, output["completion_ids"], mask)
        if kind == Credit.TURNS:
            return self._turns_to_go(mask, self._episode_rewards(mask.device))
        return self._of_forks(mask) if kind == Credit.FORKS else output["advantages"]

    def _turns_to_go(self, mask: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
        """Per-token advantages by turns, [B, T]; see `toolrest.core.turns.turn_decisions`.

        Args:
            mask: which tokens the policy sampled, bool, [B, T].
            rewards: what the rows have earned, NaN where the environment failed, [B].
        """
        assert self.acts is not None and self.acts.played is not None
        turns = [[t.reward for t in each.turns] or [0.0] for each in self.acts.played.trajectories]
        return credit.reward_to_go(
            rewards,
            turn_decisions(turns, mask),
            self._group_size,
            discount=self.config.credit_discount,
            scale=self._scale_over_ranks(rewards),
        )

    def _episode_rewards(self, device: torch.device) -> torch.Tensor:
        """What the episodes have earned, NaN where the environment failed, [B]."""
        assert self.acts is not None and self.acts.played is not None
        found = [each.reward for each in self.acts.played.trajectories]
        return torch.tensor([math.nan if each is None else each for each in found], device=device)

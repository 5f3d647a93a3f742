"""TRL's trainer whose `ToolReward`s read the ids that the policy sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard, cast

import numpy as np
import torch

from toolrest.core import credit
from toolrest.core.dialects import detect_dialect, get_dialect
from toolrest.core.forks import Families, fork_advantages
from toolrest.core.rewards import RewardBreakdown
from toolrest.core.rewards.noise import flipped, noisy_totals
from toolrest.core.rewards.turns import written_turns
from toolrest.engines.common.asked import asked_by
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.reward import ToolReward, totals
from toolrest.engines.trl.branch_checks import check_forks
from toolrest.engines.trl.checks import check_reward_dialect
from toolrest.engines.trl.rollout import FORKS, STATISTICS
from toolrest.engines.trl.signal import SignalTrainer
from toolrest.policy.speech import read_speech


class ScoringTrainer(SignalTrainer):
    """Knows the policy's dialect: how its responses begin and end, and what their parts earn."""

    def _start_scoring(self) -> None:
        """Read the dialect and how the policy ends its turns.

        Raises:
            InputError: a `ToolReward` reads another dialect.
        """
        named = self.config.dialect
        template = cast(str | None, self._tokenizer.chat_template)
        self.dialect = get_dialect(detect_dialect(template) if named == "auto" else named)
        if self.config.branches > 1:
            check_forks(self.dialect)
        policy = self.accelerator.unwrap_model(self.model)
        self.speech = read_speech(
            self._tokenizer, self.dialect, getattr(policy, "generation_config", None)
        )
        self.vocabulary = self.speech.vocabulary
        self._end_turns()
        for reward in self.reward_funcs:
            if isinstance(reward, ToolReward):
                check_reward_dialect(reward.dialect.name, self.dialect.name)

    def _end_turns(self) -> None:
        """Make every end-of-turn token end a response, with vLLM and with generate."""
        stops = list(self.speech.stop_ids)
        self.eos_token_ids = stops
        if self.use_vllm:
            generation = self.vllm_generation
            generation.generation_kwargs = {
                "stop_token_ids": stops,
                **(generation.generation_kwargs or {}),
            }
        elif "eos_token_id" not in (self.config.generation_kwargs or {}):
            self.generation_config.eos_token_id = stops
            self.generation_kwargs["eos_token_id"] = stops

    def _generate(self, prompts):
        """As the parent; notes each prompt's opening of the reply, and what the sampler tells."""
        output = super()._generate(prompts)
        drawn = output[5].pop(STATISTICS, None)
        forks = output[5].pop(FORKS, None)
        generation, masks = self._generation, output[2]
        generation.lengths = list(map(len, output[1]))
        told = drawn is not None and list(map(len, drawn)) == generation.lengths
        generation.drawn = drawn if told else None
        if forks is not None:
            generation.forks = torch.tensor(forks, device=self.accelerator.device)
            self._log_forks(generation.forks, generation.lengths)
        generation.openings = [self.speech.opening(ids) for ids in output[0]]
        if masks is not None:
            generation.sampled = [[bool(m) for m in mask] for mask in masks]
        return output

    def _tokenize_prompts(self, prompts):
        """The data set's `prompt_ids` where it has them, as they are; else as the parent."""
        if self._generation.prompt_ids is None:
            return super()._tokenize_prompts(prompts)
        return self._generation.prompt_ids, None, {}

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """As the parent; a `ToolReward` reads the ids that the policy sampled."""
        functions = self.reward_funcs
        self.reward_funcs = [
            self._scoring(each, inputs) if _scores_by_parts(each) else each for each in functions
        ]
        try:
            every = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        finally:
            self.reward_funcs = functions
        first = self.accelerator.process_index * len(inputs)
        mine = every[first : first + len(inputs)]
        total = (mine * self.reward_weights.to(mine.device)).nansum(dim=1)
        self._generation.rewards = total.masked_fill(mine.isnan().all(dim=1), torch.nan)
        return every

    def _scoring(self, reward: ToolReward, inputs: Sequence[dict[str, Any]]) -> Callable[..., Any]:
        """A reward function of TRL that reads sampled ids after what their prompts have begun, and
        leaves the parts of the rewards in the generation's record.
        """
        generation = self._generation

        def score(*, completion_ids: Sequence[Sequence[int]], log_metric: Any, **columns: Any):
            asked = list(map(asked_by, inputs, generation.openings))
            turns = [
                written_turns(ids, generation.mask(row), self.vocabulary, self.dialect, opening)
                for row, (ids, opening) in enumerate(
                    zip(completion_ids, generation.openings, strict=True)
                )
            ]
            found = reward.score_batch(turns, asked, self._progress())
            generation.breakdowns = generation.breakdowns or found
            rewards = totals(found, log_metric)
            if self.config.label_noise and self._policy.training:
                counted = np.array([reward.counts_correctness(each) for each in asked])
                return self._noisy(reward, found, counted, log_metric)
            return rewards

        return score

    def _of_forks(self, mask: torch.Tensor) -> torch.Tensor:
        """Per-token advantages by `toolrest.core.forks.fork_advantages`, [B, T]."""
        generation = self._generation
        assert generation.forks is not None and generation.rewards is not None
        rewards = generation.rewards
        if generation.unscored is not None:
            rewards = rewards.masked_fill(generation.unscored, torch.nan)
        families = Families(generation.forks, self._group_size, self.config.branches)
        scale = self._scale_over_ranks(rewards)
        return fork_advantages(rewards, families, mask.size(1), scale=scale)

    def _log_forks(self, forks: torch.Tensor, lengths: Sequence[int]) -> None:
        """Log the share of families that were forked, and take out of `num_tokens` the tokens that
        stand in a row again and were sampled once.

        Args:
            forks: of this process's rows, [B].
            lengths: tokens of each, of which the loss may leave some out, [B].
        """
        sampled, rows = forks.new_tensor(lengths), torch.arange(len(forks), device=forks.device)
        again = forks.minimum(sampled)[rows % self.config.branches > 0].sum()
        count = forks.new_tensor(len(forks))
        found = self._sum_over_ranks(torch.stack(((forks < sampled).sum(), count, again))).tolist()
        metrics = self._metrics["train"]
        metrics["forks/forked"].append(found[0] / found[1])
        metrics["forks/shared_tokens"].append(float(found[2]))
        self.state.num_input_tokens_seen -= found[2]
        metrics["num_tokens"] = [self.state.num_input_tokens_seen]

    def _noisy(
        self,
        reward: ToolReward,
        found: Sequence[RewardBreakdown],
        counted: np.ndarray,
        log_metric: Any,
    ) -> list[float]:
        """A reward's of this process's responses with label noise, [B].

        Args:
            found: the true ones, [B].
            counted: whether the correctness of each counts, which alone is turned round, bool, [B].
        """
        first = self.accelerator.process_index * len(found)
        rows = slice(first, first + len(found))
        share = self.config.label_noise
        place = (self.state.global_step, self._step % self.config.gradient_accumulation_steps)
        flips = flipped(self.config.seed, place, rows, share) & counted
        log_metric("reward/flipped", float(flips.mean()))
        return noisy_totals(found, flips, reward.rules.schedule, self._progress())

    def _reward_to_go(
        self, inputs: Sequence[dict[str, Any]], ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Per-token advantages by `toolrest.core.credit.reward_to_go`, [B, T]."""
        reward = cast(ToolReward, self.reward_funcs[0])
        generation = self._generation
        asked = list(map(asked_by, inputs, generation.openings))
        decided = batch_potentials(ids, mask, asked, reward, self.vocabulary, self._progress())
        rewards = torch.tensor(totals(generation.breakdowns), device=ids.device)
        return credit.reward_to_go(
            rewards,
            decided,
            self._group_size,
            discount=self.config.credit_discount,
            scale=self._scale_over_ranks(rewards),
        )

    def _progress(self) -> float:
        return self.state.global_step / max(1, self.state.max_steps)


def _scores_by_parts(reward: object) -> TypeGuard[ToolReward]:
    """Whether a reward is a `ToolReward` whose call is not another's."""
    return isinstance(reward, ToolReward) and type(reward).__call__ is ToolReward.__call__

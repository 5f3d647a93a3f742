"""TRL: GRPO with the token weights folded into per-token advantages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from toolrest.core import credit
from toolrest.core.dialects import get_dialect
from toolrest.core.regions import label_tokens
from toolrest.core.turns import Part, normalise_turns, turn_parts
from toolrest.core.weights import RegionEntropy, Statistic, TokenBatch, TokenStatistics
from toolrest.engines.common.batch import (
    RolloutBatch,
    entropy_metrics,
    turn_entropy_metrics,
)
from toolrest.engines.common.entropy import EntropyTracker, StartEntropy
from toolrest.engines.common.incidents import Incident
from toolrest.engines.trl.acting import ActingTrainer, with_episode_reward
from toolrest.engines.trl.branch_checks import check_branches
from toolrest.engines.trl.card import trainer_card
from toolrest.engines.trl.checks import (
    check_alone,
    check_credit,
    check_noise,
    check_prompt_ids,
    check_rows,
    check_save_steps,
    check_settings,
    check_weights_stay,
    check_whole_groups,
)
from toolrest.engines.trl.config import ResTConfig, chosen_scheme, own_settings
from toolrest.engines.trl.generation import Generation, counted_tokens, sampled_tokens
from toolrest.engines.trl.measuring import Recording
from toolrest.engines.trl.prefix.trainer import Scored
from toolrest.engines.trl.ranks import weigh_together
from toolrest.runs.model_card import ModelCard

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
    from peft import PeftConfig, PeftModel
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import (
        BitsAndBytesConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
        TrainerCallback,
    )
    from trl.trainer.grpo_trainer import EnvironmentFactory, RewardFunc, RolloutFunc


class ResTTrainer(ActingTrainer):
    """`GRPOTrainer` whose per-token advantages are w_t * A_i, [B, T].

    Takes what `GRPOTrainer` takes, in its order and with its defaults.

    Args:
        model: the policy, or its folder or name on the hub.
        reward_funcs: reward functions as TRL takes them, such as a `ToolReward`.
        args: a `ResTConfig`; None: its defaults, with checkpoints in `MODEL-ResT`.
        train_dataset: rows with a column `prompt`, and `ground_truth` for a `ToolReward`. Where
            there is a column `prompt_ids`, a list of token ids a row, the policy goes on from these
            and no prompt is tokenised.
        eval_dataset: rows of the same columns.
        processing_class: the policy's tokenizer; None: the one that lies beside the policy.
        reward_processing_classes: tokenizers of rewards that are models.
        callbacks: called at the events of training.
        optimizers: optimiser and schedule; None: those that `args` describes.
        quantization_config: how a policy that is given by its name is quantised.
        peft_config: adapters that are trained in place of all parameters.
        tools: functions that the policy may call while it responds.
        rollout_func: samples in TRL's place.
        environment_factory: makes what answers the policy's calls, in TRL's own loop.
        environment: what answers the policy's calls over several turns, in ours: a class, a list of
            functions, or a text as the recipe's `environment.source`; see docs/agents.md. The
            rewards are its own, and `reward_funcs` may be left out.
        on_rollouts: called with each generation's `RolloutBatch`.
        model_card: the card of the policy after so many steps, for the checkpoints; None: by what
            is known here.
        on_incident: called in process 0 when a reward, a weight or a gradient is not finite, before
            the rule `non_finite` is followed.

    Raises:
        InputError: settings that would cancel or break the weights, with the reason.
    """

    _tag_names: ClassVar = ["trl", "grpo", "rest", "toolrest"]
    _name = "ResT"

    def __init__(  # noqa: PLR0913 -- the arguments of TRL's trainer, and two
        self,
        model: str | PreTrainedModel | PeftModel,
        reward_funcs: RewardFunc | list[RewardFunc] | None = None,
        args: ResTConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset
        | IterableDataset
        | DatasetDict
        | IterableDatasetDict
        | dict[str, Dataset | IterableDataset]
        | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        reward_processing_classes: PreTrainedTokenizerBase
        | list[PreTrainedTokenizerBase]
        | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, LambdaLR | None] = (None, None),
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: PeftConfig | None = None,
        tools: list[Callable[..., Any]] | None = None,
        rollout_func: RolloutFunc | None = None,
        environment_factory: EnvironmentFactory | dict[str, EnvironmentFactory] | None = None,
        *,
        environment: Any = None,
        on_rollouts: Callable[[RolloutBatch], None] | None = None,
        on_incident: Callable[[Incident], None] = lambda incident: None,
        model_card: Callable[[int], ModelCard] | None = None,
    ) -> None:
        args = own_settings(args, model)
        self.scheme = chosen_scheme(args)
        if args.dialect != "auto":
            get_dialect(args.dialect)
        check_settings(args, self.scheme)
        acts = environment is not None or environment_factory is not None or bool(tools)
        check_branches(args, rollout_func, acts, reads_signal=self.scheme.reads_signal)
        check_prompt_ids((train_dataset, eval_dataset), environment_factory)
        if environment is not None:
            check_alone(args, tools, rollout_func, environment_factory)
            reward_funcs = with_episode_reward(reward_funcs)
        super().__init__(
            model,
            reward_funcs,
            args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            reward_processing_classes=reward_processing_classes,
            callbacks=callbacks,
            optimizers=optimizers,
            quantization_config=quantization_config,
            peft_config=peft_config,
            tools=tools,
            rollout_func=rollout_func,
            environment_factory=environment_factory,
            non_finite=args.non_finite,
            on_incident=on_incident,
        )
        assert self.model is not None
        check_weights_stay(args, self.model)
        check_save_steps(args)
        check_whole_groups(args)
        check_credit(args, self.reward_funcs, self.tools, environment is not None)
        check_noise(args, self.reward_funcs)
        self.config = args
        self._share_prefixes(args.prefix_sharing, args.micro_tokens)
        self._start_scoring()
        self._start_acting(environment)
        self._on_rollouts = on_rollouts
        self._model_card = model_card
        self.entropy = EntropyTracker(
            args.entropy_source, args.entropy_decay, self.accelerator.device
        )
        self.start = StartEntropy()
        self._logged = RegionEntropy.zero(self.accelerator.device)
        self._logged_entropy = self._logged
        self._logged_turns = [self._logged for _ in Part]
        self._start_measuring()
        self._start_signal(acts=self._has_turns)

    def _generate_and_score_completions(self, inputs):
        self._generation = generation = Generation.of(inputs)
        if not self._policy.training:
            return super()._generate_and_score_completions(inputs)
        recorded = self._record() if self._runs_old_forward() else nullcontext(Recording())
        with recorded as forward:
            output = super()._generate_and_score_completions(inputs)
        if generation.unscored is not None:
            output["advantages"] = output["advantages"].masked_fill(generation.unscored, 0.0)
        mask = counted_tokens(output)
        sampled = mask
        if self.config.mask_truncated_completions:
            sampled = sampled_tokens(output, generation.lengths)
        regions = label_tokens(
            output["completion_ids"],
            sampled,
            self.vocabulary,
            self.dialect,
            openings=generation.openings,
            scaffolding=self.scheme.scaffolding,
        )
        advantages = output["advantages"]
        drawn = self._score_drawn(generation.drawn, output["completion_ids"])
        scored, tokens = drawn or forward.scored, None
        if self.scheme.reads_tokens or self.config.record_entropies:
            scored = drawn or self._score_rollouts(output)
            tokens = self._token_statistics(output, scored)
        entropy = self._region_entropy(output, regions, mask, scored)
        start = self._start_entropy(tokens, regions, mask) if self.scheme.reads_tokens else None
        credited = self._credited(inputs, output, mask)
        signal = self._follow_signal(output, regions, mask, credited)
        batch = TokenBatch(regions, mask, self._progress(), entropy, tokens, start, signal)
        weights = weigh_together(self.scheme, batch, self.accelerator)
        if self.config.normalise == "turn":
            weights = normalise_turns(weights, mask)
        weights = self._finite_rows("weight", weights, output["completion_ids"])
        output["advantages"] = credit.apply(weights, credited)
        output["regions"] = regions
        output |= self._terms(entropy, regions, credited, generation.unscored)
        if drawn is not None:
            output["sampler_logps"] = drawn.log_probs
        self._log_weights(regions, mask, weights, credited)
        if self._on_rollouts is not None:
            self._on_rollouts(
                RolloutBatch(
                    step=self.state.global_step,
                    inputs=inputs,
                    completion_ids=output["completion_ids"],
                    mask=mask,
                    sampled=sampled,
                    regions=regions,
                    weights=weights * mask,
                    advantages=advantages,
                    credited=credited if credited.dim() == 2 else None,
                    entropies=None if tokens is None else tokens.entropy,
                    breakdowns=generation.breakdowns,
                    openings=generation.openings,
                    forks=generation.forks,
                    episodes=None if self.acts is None else self.acts.played,
                )
            )
        return output

    def _region_entropy(
        self,
        output: dict[str, Any],
        regions: torch.Tensor,
        mask: torch.Tensor,
        scored: Scored | None,
    ) -> RegionEntropy | None:
        """The region entropies for this generation's weights and ranges; None if neither reads any.

        Args:
            scored: what is known of the sampled tokens; None: one more forward measures them,
                unless an earlier generation's entropies are used.
        """
        if not self._reads_entropy:
            return None
        step = self.state.global_step + 1
        known = self.entropy.known(step)
        if known is not None:
            return known
        scored = scored or self._score_rollouts(output)
        return self.entropy.add(step, self._reduce(self._measure(scored, regions, mask)))

    def _start_entropy(
        self, tokens: TokenStatistics | None, regions: torch.Tensor, mask: torch.Tensor
    ) -> float | None:
        """The mean entropy of the run's first generation; None: this is it, and is kept."""
        step = self.state.global_step + 1
        known = self.start.before(step)
        if known is None and tokens is not None:
            measured = RegionEntropy.measure(tokens.entropy, regions, mask)
            self.start.add(step, self._reduce(measured))
        return known

    def _compute_loss(self, model, inputs):
        if not self._policy.training:
            return super()._compute_loss(model, inputs)
        with self._record() as forward:
            loss = super()._compute_loss(model, inputs)
        assert forward.scored is not None
        mask, regions = counted_tokens(inputs), inputs["regions"]
        self._logged += self._measure(forward.scored, regions, mask)
        self._logged_entropy += self._measure_also(forward.scored, regions, mask)
        if self._has_turns:
            parts = turn_parts(mask)
            for part in Part:
                self._logged_turns[part] += self._measure(forward.scored, regions, parts == part)
        if "sampler_logps" in inputs and self._sampled_by_this_policy():
            self._log_difference(inputs["sampler_logps"], forward.scored.log_probs, mask)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the region entropies of the training forwards since the last log."""
        if self._policy.training:
            entropy = self._reduce(self._logged)
            self._logged = RegionEntropy.zero(self.accelerator.device)
            statistic = self.scheme.statistic or Statistic.ENTROPY
            found = entropy_metrics(entropy, statistic)
            found |= entropy_metrics(self._reduce(self._logged_entropy), Statistic.ENTROPY)
            self._logged_entropy = self._logged
            if self._has_turns:
                turns = [self._reduce(each) for each in self._logged_turns]
                found |= turn_entropy_metrics(turns, statistic)
                self._logged_turns = [self._logged for _ in Part]
            for name, value in found.items():
                self._metrics["train"][name].append(value)
        super().log(logs, start_time)

    def get_train_dataloader(self):
        """As the parent, where there are rows for one generation.

        Raises:
            InputError: there are fewer, of which TRL would make no batch and train nothing.
        """
        check_rows(self.train_dataset, self.config)
        return super().get_train_dataloader()

    @property
    def _has_turns(self) -> bool:
        """Whether responses may have several turns."""
        return self.acts is not None or bool(self.tools)

    def model_card(self, name: str, dataset: str | None) -> ModelCard:
        if self._model_card is not None:
            return self._model_card(self.state.global_step)
        return trainer_card(self, name, dataset)

    def extra_state(self) -> dict[str, Any]:
        """The region entropies so far, the entropy of the first generation, and the signal."""
        signal = {} if self.signal is None else {"signal": self.signal.to_dict()}
        return {**self.entropy.to_dict(), "start": self.start.to_dict(), **signal}

    def take_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` gave."""
        self.entropy.from_dict(state)
        self.start.from_dict(state.get("start"))
        if self.signal is not None:
            self.signal.from_dict(state.get("signal"))


__all__ = ["ResTConfig", "ResTTrainer", "RolloutBatch"]

"""TRL: GRPO with the token weights folded into per-token advantages."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from toolrest import advantages as advantage_rules
from toolrest.dialects import detect_dialect, get_dialect
from toolrest.engines.batch import RolloutBatch, signal_metrics
from toolrest.engines.decided import decided_parts
from toolrest.engines.trainer_state import check_trainer_state
from toolrest.engines.trl_config import (
    Credit,
    EntropySource,
    ResTConfig,
    check_credit,
    check_reward_dialect,
    check_save_steps,
    check_settings,
    check_whole_groups,
)
from toolrest.errors import InputError
from toolrest.files import sync_tree, write_json
from toolrest.guards import Incident, NonFiniteError
from toolrest.guards.incidents import describe_tensors
from toolrest.policy import refuse_pickled_weights
from toolrest.regions import Region, label_tokens
from toolrest.rewards import ToolReward
from toolrest.rewards.guarded import GuardedReward
from toolrest.runs import CHECKPOINT_STATE, checkpoint_step
from toolrest.vocabulary import Vocabulary
from toolrest.weights import RegionEntropy, Scheme, Statistic, TokenStatistics, get_scheme

_LED_TO_A_GRADIENT = ("advantages", "old_per_token_logps", "importance_sampling_ratio")
"""Of the last micro-batch, what an incident describes."""


class ResTTrainer(GRPOTrainer):
    """`GRPOTrainer` whose per-token advantages are w_t * A_i.

    Takes what `GRPOTrainer` takes; `args` is a `ResTConfig`.

    Args:
        on_rollouts: called with each generation's `RolloutBatch`.
        on_incident: called in process 0 when a reward, a weight or a gradient is not finite, before
            the rule `non_finite` is followed.

    Raises:
        InputError: settings that would cancel or break the weights, with the reason.
    """

    def __init__(
        self,
        *positional: Any,
        args: ResTConfig,
        on_rollouts: Callable[[RolloutBatch], None] | None = None,
        on_incident: Callable[[Incident], None] = lambda incident: None,
        **keywords: Any,
    ) -> None:
        self.scheme: Scheme = get_scheme(args.weighting, **args.weighting_options)
        if args.dialect != "auto":
            get_dialect(args.dialect)
        check_settings(args)
        super().__init__(*positional, args=args, **keywords)
        check_save_steps(args)
        check_whole_groups(args, self.scheme.reads_tokens)
        check_credit(args, self.reward_funcs, self.tools)
        self.config = args
        self.dialect = get_dialect(
            detect_dialect(cast(str | None, self._tokenizer.chat_template))
            if args.dialect == "auto"
            else args.dialect
        )
        self.vocabulary = Vocabulary.from_tokenizer(
            self._tokenizer, written_special_tokens=self.dialect.special_tokens
        )
        for reward in self.reward_funcs:
            if isinstance(reward, ToolReward):
                check_reward_dialect(reward.dialect.name, self.dialect.name)
                reward.bind(self.vocabulary)
            elif isinstance(reward, GuardedReward):
                reward.agree = self._first_fault
        self._on_rollouts = on_rollouts
        self._on_incident = on_incident
        self._batch: dict[str, torch.Tensor] = {}
        self._unscored: torch.Tensor | None = None
        self._entropy_source = EntropySource(args.entropy_source)
        self._followed: RegionEntropy | None = None
        self._window = RegionEntropy.zero(self.accelerator.device)
        self._logged = RegionEntropy.zero(self.accelerator.device)
        self._capturing = False
        self._captured: torch.Tensor | None = None
        self._collisions: list[torch.Tensor] = []
        if self.scheme.statistic is Statistic.COLLISION:
            self._return_collisions()

    def _return_collisions(self) -> None:
        """Let the fused head return log sum_v p_v^2 too; a hook collects it."""
        model = self.accelerator.unwrap_model(self.model)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        add_fused_lm_head(
            base,
            temperature=self.temperature,
            cast_lm_head_to_fp32=self.config.cast_lm_head_to_fp32,
            outputs=("log_probs", "entropy", "log_sum_sq_probs"),
        )

        def collect(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if self._capturing:
                self._collisions.append(-torch.expm1(output.log_sum_sq_probs.detach()))

        base.register_forward_hook(collect)

    @contextmanager
    def _capture(self) -> Iterator[None]:
        """Keep the statistic of the policy's forwards in the block in `_captured`."""
        self._capturing, self._captured = True, None
        try:
            yield
        finally:
            self._capturing = False

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *positional, **keywords
    ):
        capture = self._capturing and self._captured is None
        if capture:
            keywords["compute_entropy"] = True
            self._collisions.clear()
        logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *positional, **keywords
        )
        if capture:
            values = entropies
            if self.scheme.statistic is Statistic.COLLISION:
                values = torch.cat(self._collisions)[:, -logits_to_keep:]
            self._captured = values.detach()
        return logps, entropies, aux_loss

    def _runs_old_forward(self) -> bool:
        """Whether TRL forwards the old policy over the rollouts anyway."""
        generate_every = (self.config.steps_per_generation or 1) * self.num_iterations
        return self.config.gradient_accumulation_steps % generate_every != 0 or (
            self.use_vllm and self.vllm_importance_sampling_correction
        )

    def _generate_and_score_completions(self, inputs):
        if not self._policy.training:
            return super()._generate_and_score_completions(inputs)
        self._captured = None
        with self._capture() if self._runs_old_forward() else nullcontext():
            output = super()._generate_and_score_completions(inputs)
        if self._unscored is not None:
            output["advantages"] = output["advantages"].masked_fill(self._unscored, 0.0)
        mask = output["completion_mask"].bool()
        if "tool_mask" in output:
            mask &= output["tool_mask"].bool()
        regions = label_tokens(
            output["completion_ids"],
            mask,
            self.vocabulary,
            self.dialect,
            scaffolding=self.scheme.scaffolding,
        )
        entropy = self._region_entropy(output, regions, mask)
        advantages = output["advantages"]
        tokens = None
        if self.scheme.reads_tokens or self.config.record_entropies:
            tokens = self._token_statistics(output)
        weights = self.scheme(regions, mask, entropy, self._progress(), tokens)
        weights = self._finite_rows("weight", weights)
        credited = advantages
        if self.config.credit == Credit.SPANS:
            credited = self._reward_to_go(inputs, output["completion_ids"], mask)
        output["advantages"] = advantage_rules.apply(weights, credited)
        output["regions"] = regions
        self._log_weights(regions, mask, weights, credited)
        if self._on_rollouts is not None:
            breakdowns = next(
                (r.breakdowns for r in self.reward_funcs if isinstance(r, ToolReward)), []
            )
            self._on_rollouts(
                RolloutBatch(
                    step=self.state.global_step,
                    inputs=inputs,
                    completion_ids=output["completion_ids"],
                    mask=mask,
                    regions=regions,
                    weights=weights,
                    advantages=advantages,
                    entropies=None if tokens is None else tokens.entropy,
                    breakdowns=breakdowns,
                )
            )
        return output

    def _token_statistics(self, output: dict[str, Any]) -> TokenStatistics:
        """Entropy and surprisal of every sampled token, by one forward without gradient."""
        logps, entropies, _ = self._forward_rollouts(output)
        return TokenStatistics(
            output["completion_ids"], entropies, -logps, output["advantages"], self._group_size
        )

    def _reward_to_go(
        self, inputs: Sequence[dict[str, Any]], ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """What was undecided when each token was sampled, against the group's mean of it."""
        reward = cast(ToolReward, self.reward_funcs[0])
        truths = [sample["ground_truth"] for sample in inputs]
        locked, stages = decided_parts(ids, mask, truths, reward, self.vocabulary, self._progress())
        rewards = torch.tensor([b.total for b in reward.breakdowns], device=ids.device)
        return advantage_rules.reward_to_go(
            rewards,
            [parts.worth for parts in locked],
            stages,
            self._group_size,
            plain=[parts.plain for parts in locked],
            discount=self.config.credit_discount,
            scale=self.scale_rewards,
        )

    def _progress(self) -> float:
        return self.state.global_step / max(1, self.state.max_steps)

    def _region_entropy(
        self, output: dict[str, Any], regions: torch.Tensor, mask: torch.Tensor
    ) -> RegionEntropy | None:
        """The region entropies that the scheme weighs this generation by."""
        if self.scheme.statistic is None:
            return None
        if self._entropy_source is EntropySource.EXACT:
            return self._measure_rollouts(output, regions, mask)
        if self._followed is None:
            self._followed = self._measure_rollouts(output, regions, mask)
        elif self._entropy_source is EntropySource.ONLINE:
            newer = self._reduce(self._window)
            self._followed = self._followed.follow(newer, self.config.entropy_decay)
        self._window = RegionEntropy.zero(self.accelerator.device)
        return self._followed

    def _measure_rollouts(
        self, output: dict[str, Any], regions: torch.Tensor, mask: torch.Tensor
    ) -> RegionEntropy:
        """The old policy's entropies over the rollouts: caught on the way, or one more forward."""
        if self._captured is None:
            with self._capture():
                self._forward_rollouts(output)
        assert self._captured is not None
        return self._reduce(RegionEntropy.measure(self._captured, regions, mask))

    def _forward_rollouts(self, output: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """(log-probabilities, entropies) of the sampled tokens under the policy, [B, T]."""
        ids = torch.cat((output["prompt_ids"], output["completion_ids"]), dim=1)
        attention = torch.cat((output["prompt_mask"], output["completion_mask"]), dim=1)
        with torch.no_grad():
            return self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                attention,
                output["completion_ids"].size(1),
                batch_size=self.config.per_device_train_batch_size,
                compute_entropy=True,
            )

    def _reduce(self, entropy: RegionEntropy) -> RegionEntropy:
        """The sums and counts of all ranks."""
        both = torch.stack((entropy.total, entropy.count))
        total, count = self._sum_over_ranks(both)
        return RegionEntropy(total, count)

    def _sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.accelerator.reduce(values, reduction="sum"))

    @property
    def _group_size(self) -> int:
        return cast(int, self.num_generations)

    @property
    def _policy(self) -> torch.nn.Module:
        return cast(torch.nn.Module, self.model)

    def _compute_loss(self, model, inputs):
        if not self._policy.training:
            return super()._compute_loss(model, inputs)
        self._batch = inputs
        with self._capture():
            loss = super()._compute_loss(model, inputs)
        assert self._captured is not None
        mask = inputs["completion_mask"].bool()
        if "tool_mask" in inputs:
            mask = mask & inputs["tool_mask"].bool()
        measured = RegionEntropy.measure(self._captured, inputs["regions"], mask)
        self._window += measured
        self._logged += measured
        return loss

    def _first_fault(self, fault: str | None) -> str | None:
        """What is wrong in the first process in which something is."""
        faults = gather_object([fault]) if self.accelerator.num_processes > 1 else [fault]
        return next((said for said in faults if said is not None), None)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """The parent's; responses without any finite reward stop the run or leave out their group.

        TRL takes a NaN for the None of a reward that does not apply, and would count it as 0.
        """
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        broken = torch.isinf(rewards).any(dim=1) | torch.isnan(rewards).all(dim=1)
        self._unscored = None
        if self._policy.training and broken.any():
            self._incident("reward", {"rewards": rewards})
            rewards = rewards.masked_fill(broken[:, None], 0.0)
            groups = broken.view(-1, self._group_size).any(dim=1)
            mine = self.accelerator.process_index * len(prompts)
            rows = groups.repeat_interleave(self._group_size)
            self._unscored = rows[mine : mine + len(prompts)]
        return rewards

    def _finite_rows(self, what: str, values: torch.Tensor) -> torch.Tensor:
        """The values; rows that are not finite stop the run or, with `skip`, become 0."""
        broken = ~torch.isfinite(values.view(len(values), -1)).all(dim=1)
        if not self._sum_over_ranks(broken.sum()[None].float()).item():
            return values
        self._incident(what, {what: values})
        shape = (-1,) + (1,) * (values.dim() - 1)
        return torch.where(broken.view(shape), torch.zeros_like(values), values)

    def _clip_grad_norm(self, model):
        """The parent's; a gradient that is not finite stops the run or is dropped."""
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(cast(Any, norm))):
            kept = {key: v for key, v in self._batch.items() if key in _LED_TO_A_GRADIENT}
            self._incident("loss or gradient", kept)
            model.zero_grad(set_to_none=True)
        return norm

    def _incident(self, what: str, tensors: dict[str, torch.Tensor]) -> None:
        """Tell what led to it; then stop, if that is the rule."""
        parameters = self._broken_parameters()
        facts = {
            "rule": self.config.non_finite,
            "last_losses": [entry.get("loss") for entry in self.state.log_history[-5:]],
            "last_gradient_norms": [e.get("grad_norm") for e in self.state.log_history[-5:]],
            "parameters_not_finite": parameters[:20],
            "tensors": describe_tensors(tensors),
            "completion_ids": self._batch["completion_ids"].tolist() if self._batch else None,
        }
        incident = Incident(self.state.global_step, what, facts)
        if self.accelerator.is_main_process:
            self._on_incident(incident)
        if parameters or self.config.non_finite == "stop":
            raise NonFiniteError(incident)
        self._metrics["train"]["guards/not_finite"].append(1.0)

    def _broken_parameters(self) -> list[str]:
        """Parameters that are not finite; no step mends them, so the run stops by any rule."""
        parameters = self._policy.named_parameters()
        return [name for name, value in parameters if not value.isfinite().all()]

    def _log_weights(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        weights: torch.Tensor,
        advantages: torch.Tensor,
    ) -> None:
        """Per region: share of tokens, mean weight, share of the gradient signal sum w|A|."""
        signal = advantage_rules.apply(weights, advantages.abs())
        parts = [RegionEntropy.measure(values, regions, mask) for values in (weights, signal)]
        sums = torch.stack((parts[0].count, parts[0].total, parts[1].total))
        for name, value in signal_metrics(*self._sum_over_ranks(sums).tolist()).items():
            self._metrics["train"][name].append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the region entropies of the training forwards since the last log."""
        if self._policy.training:
            entropy = self._reduce(self._logged)
            self._logged = RegionEntropy.zero(self.accelerator.device)
            statistic = self.scheme.statistic or Statistic.ENTROPY
            for region in Region:
                if entropy.count[region] > 0:
                    self._metrics["train"][f"{statistic}/{region.name.lower()}"].append(
                        entropy.mean[region].item()
                    )
        super().log(logs, start_time)

    def _save_checkpoint(self, model, trial):
        """The parent's files, then ours, which says that all are there; older ones go after it."""
        if self._broken_parameters():
            self._incident("parameter", {})
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        window = self._reduce(self._window)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial))
            folder /= f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            followed = None if self._followed is None else self._followed.to_lists()
            (folder / CHECKPOINT_STATE).unlink(missing_ok=True)
            sizes = sync_tree(folder)
            state = {"followed": followed, "window": window.to_lists(), "files": sizes}
            write_json(folder / CHECKPOINT_STATE, state)
            self._prune(folder, limit)

    def _prune(self, newest: Path, limit: int | None) -> None:
        """Keep the newest `limit` checkpoints, by their steps, and the best one if there is one."""
        if limit is None or limit <= 0:
            return
        found = [
            folder
            for folder in newest.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
            if folder.name.split("-")[1].isdigit()
        ]
        found.sort(key=checkpoint_step)
        best = self.state.best_model_checkpoint
        for folder in found[: -max(1, limit)]:
            if best is None or Path(best).resolve() != folder.resolve():
                shutil.rmtree(folder)

    @contextmanager
    def _reading(self, checkpoint: object) -> Iterator[None]:
        """A checkpoint that cannot be read is wrong input."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="torch")
                yield
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # what broken files end in has no common class
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            if "weights_only" in text:
                text = "damaged, or it holds what runs code when it is read"
            raise InputError(
                f"{checkpoint}: the checkpoint cannot be read ({text}); remove that folder to go "
                "on from the one before"
            ) from error

    def train(self, resume_from_checkpoint=None, *positional, **keywords):
        """The parent's; a checkpoint whose state cannot be read is an `InputError`."""
        if isinstance(resume_from_checkpoint, str):
            with self._reading(resume_from_checkpoint):
                check_trainer_state(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint, *positional, **keywords)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        refuse_pickled_weights(Path(resume_from_checkpoint))
        with self._reading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _issue_warnings_after_load(self, load_result):
        super()._issue_warnings_after_load(load_result)
        values = self._policy.state_dict()
        missing = [name for name in load_result.missing_keys if name in values]
        there = {value.data_ptr() for name, value in values.items() if name not in missing}
        lost = [name for name in missing if values[name].data_ptr() not in there]  # others are tied
        if lost:
            raise ValueError(f"{len(lost)} of the policy's weights are missing, such as {lost[0]}")

    def _load_rng_state(self, checkpoint):
        with self._reading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        path = Path(checkpoint) / CHECKPOINT_STATE
        if not path.is_file():
            raise InputError(
                f"{checkpoint}: no {CHECKPOINT_STATE}, so the region entropies of that run are "
                "unknown; resume from a checkpoint that ResTTrainer wrote whole"
            )
        with self._reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            state = json.loads(path.read_text(encoding="utf-8"))
            device = self.accelerator.device
            if state["followed"] is not None:
                self._followed = RegionEntropy.from_lists(state["followed"], device)
            if self.accelerator.is_main_process:
                self._window = RegionEntropy.from_lists(state["window"], device)


__all__ = ["ResTConfig", "ResTTrainer", "RolloutBatch"]

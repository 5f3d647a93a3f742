"""verl: its PPO trainers with the token weights folded into per-token advantages.

A plug-in: verl loads it in the driver and in every Ray worker, by the entry point `verl.plugins` or
by VERL_USE_EXTERNAL_MODULES=toolrest.engines.verl.plugin. Loading registers the trainers
`toolrest_sync`, `toolrest_colocate_async` and `toolrest_separate_async` and the losses
`toolrest_<loss>`, which are verl's own and report which advantages they saw. Where it was not
loaded verl knows neither name and stops; where it was and the weights did not arrive, the trainer
stops (`WeightsNotApplied`).
"""
# verl is not installed where the types are checked.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
import transfer_queue as tq
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from verl.trainer.ppo.core_algos import get_policy_loss_fn, register_policy_loss
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from toolrest.core.dialects import get_dialect
from toolrest.core.rewards.schedule import get_schedule
from toolrest.core.weights import get_scheme
from toolrest.engines.common.reward import PARTS
from toolrest.engines.verl.checkpoints import step_folder
from toolrest.engines.verl.names import EXACT_LOSSES, STATE_FILE, loss_name, trainer_name
from toolrest.engines.verl.weights import (
    GenerationWeights,
    Rollouts,
    WeightsNotApplied,
    check_received,
    received,
)
from toolrest.io.files import read_json
from toolrest.policy.speech import read_speech


def _reporting(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The same loss, with the metrics of the advantages that it was given."""

    def report(  # noqa: PLR0913 -- the arguments of verl's losses
        old_log_prob: torch.Tensor,
        log_prob: torch.Tensor,
        advantages: torch.Tensor,
        response_mask: torch.Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        value, metrics = loss(
            old_log_prob=old_log_prob,
            log_prob=log_prob,
            advantages=advantages,
            response_mask=response_mask,
            loss_agg_mode=loss_agg_mode,
            config=config,
            rollout_is_weights=rollout_is_weights,
        )
        return value, {**metrics, **received(advantages, response_mask)}

    return report


for _loss in EXACT_LOSSES:
    register_policy_loss(loss_name(_loss))(_reporting(get_policy_loss_fn(_loss)))


class WeightedTrainer:
    """Mixed into verl's trainers: weighs the advantages, and checks that the loss saw them.

    verl weighs a batch in one hook and updates the actor in another, to which it hands only what
    the queue holds; `_sent` keeps what the first put there until the second has compared it.
    """

    mode: ClassVar[str]
    """The name that verl knows the trainer's way of working by."""

    def __init__(self, config: Any) -> None:
        given = config.get("toolrest")
        if given is None:
            raise WeightsNotApplied(
                "the configuration has no section toolrest; start the run with "
                "`toolrest train --engine verl`, or with the command that --dry-run prints"
            )
        self.settings: dict[str, Any] = OmegaConf.to_container(given, resolve=True)  # type: ignore
        with open_dict(config):
            # verl compares the mode literally: another name would get the asynchronous buffer.
            config.trainer.v1.trainer_mode = self.mode
        self._schedule = get_schedule(self.settings["reward_schedule"])
        self._sent: dict[str, float] | None = None
        super().__init__(config)  # type: ignore[call-arg]

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        settings = self.settings
        self.speech = read_speech(self.tokenizer, get_dialect(settings["dialect"]))
        self.generation = GenerationWeights(
            get_scheme(settings["scheme"], **settings["options"]),
            self.speech.dialect,
            self.speech.vocabulary,
            entropy_source=settings["entropy_source"],
            entropy_decay=settings["entropy_decay"],
            group_size=self.config.actor_rollout_ref.rollout.n,
        )

    @property
    def _progress(self) -> float:
        """Share of the run that is done; 0 in the first generation."""
        return (self.global_steps - 1) / max(1, self.total_training_steps)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._score(batch, metrics)
        batch = super()._compute_advantage(batch, metrics)
        names = ["uid", "prompts", "responses", "response_mask", "entropy", "old_log_probs"]
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=[*names, "advantages"],
        )
        nested_mask = data["response_mask"]
        uids = [str(uid) for uid in data.pop("uid").tolist()]
        prompts = [prompt.tolist() for prompt in data.pop("prompts").unbind()]
        padding = [bool(tag.get("is_padding")) for tag in batch.tags]
        padded = data.to_padded_tensor()
        found = self.generation.weigh(
            Rollouts(
                step=self.global_steps,
                progress=self._progress,
                ids=padded["responses"],
                mask=padded["response_mask"].bool(),
                entropies=padded["entropy"].float(),
                log_probs=padded["old_log_probs"].float(),
                advantages=padded["advantages"],
                groups=[None if pad else uid for uid, pad in zip(uids, padding, strict=True)],
                openings=[self.speech.opening(prompt) for prompt in prompts],
            )
        )
        weighted = response_to_nested(found.advantages, nested_mask)
        batch = tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict({"advantages": weighted}, batch_size=len(batch)),
        )
        self._read_back(batch, weighted)
        self._sent = received(found.advantages, padded["response_mask"])
        metrics.update(found.metrics)
        return batch

    def _score(self, batch: Any, metrics: dict[str, Any]) -> None:
        """Map the parts of the rewards onto the schedule's ranges. verl tells its reward function
        no progress, so that it cannot do so.
        """
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["extra_fields", "rm_scores"],
        )
        extra = data.pop("extra_fields").tolist()
        scores = list(data["rm_scores"].unbind())
        real = [row for row, tag in enumerate(batch.tags) if not tag.get("is_padding")]
        parts = [extra[row].get("reward_extra_info", {}) for row in real]
        if not all("correctness_counts" in part for part in parts):
            if self.settings["reward_schedule"] != "constant":
                raise WeightsNotApplied(
                    "the reward function gives no parts to schedule; use toolrest's, or "
                    "reward.schedule=constant"
                )
            return
        for row, part in zip(real, parts, strict=True):
            form, right = self._schedule.rewards(
                part["format"], part["correctness"], self._progress
            )
            scores[row] = torch.zeros_like(scores[row])
            scores[row][-1] = form + (right if part["correctness_counts"] else 0.0)
        tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict(
                {"rm_scores": torch.nested.as_nested_tensor(scores, layout=torch.jagged)},
                batch_size=len(batch),
            ),
        )
        count = max(1, len(real))
        metrics["reward"] = sum(scores[row].sum().item() for row in real) / count
        for name in PARTS:
            metrics[f"reward/{name}"] = sum(float(part[name]) for part in parts) / count

    def _read_back(self, batch: Any, weighted: torch.Tensor) -> None:
        """Check that the queue returns the advantages that were put into it.

        Raises:
            WeightsNotApplied: it holds something else.
        """
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["advantages"]
        )
        if not torch.equal(data["advantages"].values(), weighted.values()):
            raise WeightsNotApplied(
                f"TransferQueue gave other advantages back at step {self.global_steps} than the "
                "weighted ones that were put into it"
            )

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        if self._sent is None:
            raise WeightsNotApplied(
                f"the actor is to be updated at step {self.global_steps}, and no weights were made"
            )
        batch = super()._update_actor(batch, metrics)
        check_received(self._sent, metrics, comparable=self._equal_forwards())
        self._sent = None
        return batch

    def _equal_forwards(self) -> bool:
        """Whether every micro-batch has equally many responses."""
        actor, trainer = self.config.actor_rollout_ref.actor, self.config.trainer
        if actor.use_dynamic_bsz or not str(actor.strategy).startswith("fsdp"):
            return False
        if actor.get("ulysses_sequence_parallel_size", 1) != 1:
            return False
        responses = actor.ppo_mini_batch_size * self.config.actor_rollout_ref.rollout.n
        processes = trainer.nnodes * trainer.n_gpus_per_node
        micro = actor.ppo_micro_batch_size_per_gpu
        return bool(micro) and responses % (processes * micro) == 0

    def _save_checkpoint(self) -> None:
        # verl names the checkpoint as its newest at the end; by then the state must be there.
        folder = step_folder(Path(self.config.trainer.default_local_dir), self.global_steps)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STATE_FILE).write_text(
            json.dumps(self.generation.entropy.to_dict()), encoding="utf-8"
        )
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.global_steps == 0:
            return
        trainer = self.config.trainer
        folder = (
            Path(trainer.resume_from_path)
            if trainer.resume_mode == "resume_path"
            else step_folder(Path(trainer.default_local_dir), self.global_steps)
        )
        path = folder / STATE_FILE
        if not path.is_file():
            raise WeightsNotApplied(
                f"{folder}: no {STATE_FILE}, so the region entropies of that run are unknown; "
                "resume from a checkpoint that this engine wrote"
            )
        self.generation.entropy.from_dict(read_json(path))


@register_trainer(trainer_name("sync"))
class WeightedSync(WeightedTrainer, PPOTrainerSync):
    """Samples and trains in turn."""

    mode = "sync"


@register_trainer(trainer_name("colocate_async"))
class WeightedColocateAsync(WeightedTrainer, PPOTrainerColocateAsync):
    """Samples ahead on the GPUs that train."""

    mode = "colocate_async"


@register_trainer(trainer_name("separate_async"))
class WeightedSeparateAsync(WeightedTrainer, PPOTrainerSeparateAsync):
    """Samples on GPUs of its own."""

    mode = "separate_async"

"""verl: its PPO trainers with the token weights folded into per-token advantages.

A plug-in: verl loads it in the driver and in every Ray worker, by the entry point `verl.plugins` or
by VERL_USE_EXTERNAL_MODULES=toolrest.engines.verl.plugin. Loading registers the trainers
`toolrest_sync`, `toolrest_colocate_async` and `toolrest_separate_async` and the losses
`toolrest_<loss>`, which are verl's own and report which advantages they saw, and the agent loop
`toolrest_episode`, which plays a recipe's environment. Where it was not
loaded verl knows neither name and stops; where it was and the weights did not arrive, the trainer
stops (`WeightsNotApplied`).
"""
# verl is not installed where the types are checked.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
import transfer_queue as tq
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

import toolrest.engines.verl.agent_loop
import toolrest.engines.verl.losses  # noqa: F401  verl's workers know both by their names
from toolrest.core.rewards.schedule import get_schedule
from toolrest.core.weights import get_scheme
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.verl.checkpoints import step_folder
from toolrest.engines.verl.credit import Crediting, asked_of
from toolrest.engines.verl.names import STATE_FILE, trainer_name
from toolrest.engines.verl.scoring import Scored, episode_scores, scheduled_scores
from toolrest.engines.verl.speech import config_speech
from toolrest.engines.verl.weights import (
    GenerationWeights,
    Rollouts,
    WeightsNotApplied,
    check_received,
    received,
)
from toolrest.errors import InputError
from toolrest.io.files import read_json
from toolrest.io.terminal import say


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
        self.speech = config_speech(self.config, self.tokenizer)
        self.generation = GenerationWeights(
            get_scheme(settings["scheme"], **settings["options"]),
            self.speech.dialect,
            self.speech.vocabulary,
            entropy_source=settings["entropy_source"],
            entropy_decay=settings["entropy_decay"],
            group_size=self.config.actor_rollout_ref.rollout.n,
            normalise=settings["normalise"],
        )
        self.crediting = Crediting(
            settings["credit"],
            settings["discount"],
            settings["scale"],
            ToolReward(settings["dialect"], settings["reward_schedule"], **settings["reward"]),
            self.speech.vocabulary,
        )

    @property
    def _progress(self) -> float:
        """Share of the run that is done; 0 in the first generation."""
        return (self.global_steps - 1) / max(1, self.total_training_steps)

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        if self.settings.get("environment") is not None:
            self._tell_failures(batch)
        return super()._compute_old_log_prob(batch, metrics)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        scored = self._score(batch, metrics)
        batch = super()._compute_advantage(batch, metrics)
        names = ["uid", "prompts", "responses", "response_mask", "entropy", "old_log_probs"]
        by_spans = self.settings["credit"] == "spans"
        asked_by = ["reward_model", "extra_info"] if by_spans else []
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=[*names, "advantages", *asked_by],
        )
        nested_mask = data["response_mask"]
        uids = [str(uid) for uid in data.pop("uid").tolist()]
        prompts = [prompt.tolist() for prompt in data.pop("prompts").unbind()]
        about = [data.pop(name).tolist() for name in asked_by]
        padding = _padding(batch)
        padded = data.to_padded_tensor()
        rollouts = Rollouts(
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
        asked = asked_of(about[0], about[1], rollouts) if about else None
        found = self.generation.weigh(self.crediting.of(rollouts, scored, asked))
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

    def _score(self, batch: Any, metrics: dict[str, Any]) -> Scored | None:
        """Map the parts of the rewards onto the schedule's ranges, since verl tells its reward
        function no progress; or read what episodes have earned, which is in the queue already.

        Returns:
            None where another function gave rewards, without parts.
        """
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["extra_fields", "rm_scores"],
        )
        extra, padding = data.pop("extra_fields").tolist(), _padding(batch)
        if self.settings.get("environment") is not None:
            scored = episode_scores(extra, padding)
            metrics.update(scored.metrics)
            return scored
        scored = scheduled_scores(extra, padding, self._schedule, self._progress)
        if scored is None:
            if self.settings["reward_schedule"] != "constant":
                raise WeightsNotApplied(
                    "the reward function gives no parts to schedule; use toolrest's, or "
                    "reward.schedule=constant"
                )
            return None
        scores = list(data["rm_scores"].unbind())
        for row, padded in enumerate(padding):
            if not padded:
                scores[row] = torch.zeros_like(scores[row])
                scores[row][-1] = scored.rewards[row]
        tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict(
                {"rm_scores": torch.nested.as_nested_tensor(scores, layout=torch.jagged)},
                batch_size=len(batch),
            ),
        )
        metrics.update(scored.metrics)
        return scored

    def _tell_failures(self, batch: Any) -> None:
        """Write the first failure of a batch's episodes into verl's log; or stop.

        Raises:
            InputError: one failed, and the run is to stop at that; or no episode has a token, of
                which verl can make no step.
        """
        data = tq.kv_batch_get(
            keys=batch.keys,
            partition_id=batch.partition_id,
            select_fields=["extra_fields", "response_mask"],
        )
        failures = episode_scores(data.pop("extra_fields").tolist(), _padding(batch)).failures
        if not failures:
            return
        if self.settings["environment"]["failure"] == "stop":
            raise InputError(f"the environment failed: {failures[0]}")
        if not data["response_mask"].values().any():
            raise InputError(f"no episode of a batch has begun: {failures[0]}")
        say(
            f"step {self.global_steps}: {len(failures)} of {len(batch.keys)} episodes failed and "
            f"count for nothing; {failures[0]}"
        )

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
        state = json.dumps(self.generation.to_dict())
        (folder / STATE_FILE).write_text(state, encoding="utf-8")
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
        self.generation.from_dict(read_json(path))


def _padding(batch: Any) -> list[bool]:
    """Which rows of a batch are synthetic."""
    return [bool(tag.get("is_padding")) for tag in batch.tags]


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

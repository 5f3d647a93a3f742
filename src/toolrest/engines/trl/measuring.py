"""TRL's trainer that knows each token's entropy, from the sampler or from a forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from trl.trainer.utils import add_fused_lm_head

from toolrest.core.credit import apply, deviation
from toolrest.core.weights import RegionEntropy, Scheme, Statistic, TokenStatistics
from toolrest.engines.common.batch import signal_metrics
from toolrest.engines.trl.config import ResTConfig
from toolrest.engines.trl.prefix.trainer import PrefixSharingTrainer, Scored


@dataclass
class Recording:
    """The first forward of a `with` block."""

    scored: Scored | None = None
    """What it told, without gradients; None: there was no forward yet."""
    log_probs: torch.Tensor | None = None
    """The log-probabilities with their graph, where it has one, [B, T]."""
    collisions: list[torch.Tensor] = field(default_factory=list)
    """1 - sum_v p_v^2 of each part of it so far."""


class MeasuringTrainer(PrefixSharingTrainer):
    """Records the statistic that a scheme reads in forwards that run anyway, and runs one more
    where none does.

    TRL runs these forwards itself, so they write into the recording of the `with` block that they
    run in.
    """

    scheme: Scheme
    config: ResTConfig

    def _start_measuring(self) -> None:
        self._recording: Recording | None = None
        if self.scheme.statistic is Statistic.COLLISION:
            self._return_collisions()

    def _return_collisions(self) -> None:
        """Make the fused head also return log sum_v p_v^2; a hook records 1 - sum_v p_v^2."""
        model = self.accelerator.unwrap_model(self.model)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        add_fused_lm_head(
            base,
            temperature=self.temperature,
            cast_lm_head_to_fp32=self.config.cast_lm_head_to_fp32,
            outputs=("log_probs", "entropy", "log_sum_sq_probs"),
        )

        def collect(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            squares = getattr(output, "log_sum_sq_probs", None)  # sampling runs a plain head
            if squares is not None and not self.shares_prefixes:
                self._add_collisions(-torch.expm1(squares.detach()))

        base.register_forward_hook(collect)

    def _add_collisions(self, values: torch.Tensor | None) -> None:
        recording = self._recording
        if recording is not None and recording.scored is None and values is not None:
            recording.collisions.append(values)

    @contextmanager
    def _record(self) -> Iterator[Recording]:
        """Record the first forward of the `with` block."""
        recording = self._recording = Recording()
        try:
            yield recording
        finally:
            self._recording = None

    def _score_packed(self, model, ids, attention, width, budget) -> Scored:
        scored = super()._score_packed(model, ids, attention, width, budget)
        self._add_collisions(scored.collisions)
        return scored

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *positional, **keywords
    ):
        recording = self._recording
        if recording is not None and recording.scored is None:
            keywords["compute_entropy"] = True
        logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *positional, **keywords
        )
        if recording is not None and recording.scored is None:
            parts = recording.collisions
            collisions = torch.cat(parts)[:, -logits_to_keep:] if parts else None
            recording.log_probs = logps
            recording.scored = Scored(
                logps.detach(), cast(torch.Tensor, entropies).detach(), collisions
            )
        if entropies is not None and not self._entropy_bonus_enabled:
            entropies = entropies.detach()  # the entropy bonus alone has a gradient through them
        return logps, entropies, aux_loss

    def _runs_old_forward(self) -> bool:
        """Whether TRL runs a forward of the old policy over the rollouts anyway."""
        generate_every = (self.config.steps_per_generation or 1) * self.num_iterations
        return self.config.gradient_accumulation_steps % generate_every != 0 or (
            self.use_vllm and self.vllm_importance_sampling_correction
        )

    def _score_drawn(
        self, drawn: Sequence[torch.Tensor] | None, ids: torch.Tensor
    ) -> Scored | None:
        """What the sampler told of the tokens `ids`, [B, T]; None if it told nothing."""
        if drawn is None:
            return None
        found = torch.zeros(*ids.shape, 3, device=ids.device)
        for row, values in zip(found, drawn, strict=True):
            row[: len(values)] = values.to(ids.device)
        return Scored(*found.unbind(-1))

    def _score_rollouts(self, output: dict[str, Any]) -> Scored:
        """What the policy tells of the sampled tokens, [B, T], by one forward without gradient."""
        ids = torch.cat((output["prompt_ids"], output["completion_ids"]), dim=1)
        attention = torch.cat((output["prompt_mask"], output["completion_mask"]), dim=1)
        with torch.no_grad(), self._record() as forward:
            self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                attention,
                output["completion_ids"].size(1),
                batch_size=self.config.per_device_train_batch_size,
                compute_entropy=True,
            )
        assert forward.scored is not None
        return forward.scored

    def _token_statistics(self, output: dict[str, Any], scored: Scored) -> TokenStatistics:
        """Entropy and surprisal of every sampled token, [B, T]."""
        entropies = cast(torch.Tensor, scored.entropies)
        ids, advantages = output["completion_ids"], output["advantages"]
        return TokenStatistics(ids, entropies, -scored.log_probs, advantages, self._group_size)

    def _measure(self, scored: Scored, regions: torch.Tensor, mask: torch.Tensor) -> RegionEntropy:
        """The sums of the scheme's statistic over this process's tokens of each region."""
        collision = self.scheme.statistic is Statistic.COLLISION
        values = scored.collisions if collision else scored.entropies
        return RegionEntropy.measure(cast(torch.Tensor, values), regions, mask)

    def _measure_also(
        self, scored: Scored, regions: torch.Tensor, mask: torch.Tensor
    ) -> RegionEntropy:
        """The sums of the entropy, by which a collapse shows, where the scheme's statistic is
        another; else nothing.
        """
        if self.scheme.statistic is not Statistic.COLLISION:
            return RegionEntropy.zero(regions.device)
        return RegionEntropy.measure(cast(torch.Tensor, scored.entropies), regions, mask)

    def _reduce(self, entropy: RegionEntropy) -> RegionEntropy:
        """The sums and counts over all processes."""
        both = torch.stack((entropy.total, entropy.count))
        total, count = self._sum_over_ranks(both)
        return RegionEntropy(total, count)

    def _scale_over_ranks(self, rewards: torch.Tensor) -> str | float:
        """What rewards to go are divided by: of a batch, the deviation of all processes' rewards.

        Args:
            rewards: this process's, [B].
        """
        if self.scale_rewards != "batch":
            return self.scale_rewards
        sigma = deviation(cast(torch.Tensor, self.accelerator.gather(rewards)))
        return "none" if sigma is None else sigma

    def _sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.accelerator.reduce(values, reduction="sum"))

    def _log_weights(
        self,
        regions: torch.Tensor,
        mask: torch.Tensor,
        weights: torch.Tensor,
        advantages: torch.Tensor,
    ) -> None:
        """Per region: share of tokens, mean weight, share of the gradient signal sum w|A|."""
        signal = apply(weights, advantages.abs())
        parts = [RegionEntropy.measure(values, regions, mask) for values in (weights, signal)]
        sums = torch.stack((parts[0].count, parts[0].total, parts[1].total))
        for name, value in signal_metrics(*self._sum_over_ranks(sums).tolist()).items():
            self._metrics["train"][name].append(value)

    def _sampled_by_this_policy(self) -> bool:
        """Whether no optimiser step has followed since this generation was sampled."""
        window = (self.config.steps_per_generation or 1) * self.num_iterations
        return self._step % window < self.config.gradient_accumulation_steps

    def _log_difference(
        self, sampler: torch.Tensor, policy: torch.Tensor, mask: torch.Tensor
    ) -> None:
        """How far the sampler's log-probabilities are from the policy's that it was, [B, T]; by the
        names that TRL has for vLLM's.
        """
        apart = (policy - sampler).abs() * mask
        total, count = self._sum_over_ranks(torch.stack((apart.sum(), mask.sum()))).tolist()
        greatest = cast(torch.Tensor, self.accelerator.gather(apart.max().view(1))).max()
        metrics = self._metrics["train"]
        metrics["sampling/sampling_logp_difference/mean"].append(total / max(1.0, count))
        metrics["sampling/sampling_logp_difference/max"].append(greatest.item())

    @property
    def _group_size(self) -> int:
        return cast(int, self.num_generations)

    @property
    def _policy(self) -> torch.nn.Module:
        return cast(torch.nn.Module, self.model)

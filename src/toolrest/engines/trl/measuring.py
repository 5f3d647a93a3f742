"""TRL's trainer that knows each token's entropy, from the sampler or from a forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from trl.trainer.utils import add_fused_lm_head

from toolrest.core.weights import RegionEntropy, Scheme, Statistic, TokenStatistics
from toolrest.engines.trl.config import ResTConfig
from toolrest.engines.trl.prefix.trainer import PrefixSharingTrainer


class MeasuringTrainer(PrefixSharingTrainer):
    """Captures the statistic that a scheme reads in forwards that run anyway, and runs one more
    where none does.
    """

    scheme: Scheme
    config: ResTConfig

    def _start_measuring(self) -> None:
        self._capturing = False
        self._captured: torch.Tensor | None = None
        self._captured_logps: torch.Tensor | None = None
        self._collisions: list[torch.Tensor] = []
        if self.scheme.statistic is Statistic.COLLISION:
            self._return_collisions()

    def _return_collisions(self) -> None:
        """Make the fused head also return log sum_v p_v^2; a hook collects 1 - sum_v p_v^2."""
        model = self.accelerator.unwrap_model(self.model)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        add_fused_lm_head(
            base,
            temperature=self.temperature,
            cast_lm_head_to_fp32=self.config.cast_lm_head_to_fp32,
            outputs=("log_probs", "entropy", "log_sum_sq_probs"),
        )

        def collect(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if self._capturing and not self.shares_prefixes:
                self._collisions.append(-torch.expm1(output.log_sum_sq_probs.detach()))

        base.register_forward_hook(collect)

    @contextmanager
    def _capture(self) -> Iterator[None]:
        """In the `with` block, store the first forward's statistic, [B, T], in `_captured`."""
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
            values = cast(torch.Tensor, entropies)
            if self.scheme.statistic is Statistic.COLLISION:
                values = self._packed_collisions
                if values is None:
                    values = torch.cat(self._collisions)[:, -logits_to_keep:]
            self._captured, self._captured_logps = values.detach(), logps.detach()
        if entropies is not None and not self._entropy_bonus_enabled:
            entropies = entropies.detach()  # the entropy bonus alone has a gradient through them
        return logps, entropies, aux_loss

    def _runs_old_forward(self) -> bool:
        """Whether TRL runs a forward of the old policy over the rollouts anyway."""
        generate_every = (self.config.steps_per_generation or 1) * self.num_iterations
        return self.config.gradient_accumulation_steps % generate_every != 0 or (
            self.use_vllm and self.vllm_importance_sampling_correction
        )

    def _sampler_statistics(
        self, drawn: Sequence[torch.Tensor] | None, ids: torch.Tensor
    ) -> torch.Tensor | None:
        """What the sampler told of the tokens `ids`, [B, T] -> [B, T, 3], kept as `_captured`; None
        if it told nothing.
        """
        if drawn is None:
            return None
        found = torch.zeros(*ids.shape, 3, device=ids.device)
        for row, values in zip(found, drawn, strict=True):
            row[: len(values)] = values.to(ids.device)
        self._captured = found[..., 2 if self.scheme.statistic is Statistic.COLLISION else 1]
        return found

    def _token_statistics(
        self, output: dict[str, Any], drawn: torch.Tensor | None
    ) -> TokenStatistics:
        """Entropy and surprisal of every sampled token, [B, T]: `drawn`, or else by one forward
        without gradient.
        """
        if drawn is not None:
            logps, entropies, _ = drawn.unbind(-1)
        else:
            with self._capture():
                logps, entropies, _ = self._forward_rollouts(output)
        return TokenStatistics(
            output["completion_ids"], entropies, -logps, output["advantages"], self._group_size
        )

    def _measure_rollouts(
        self, output: dict[str, Any], regions: torch.Tensor, mask: torch.Tensor
    ) -> RegionEntropy:
        """The old policy's region entropies over the rollouts; one more forward unless captured."""
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
            found = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                attention,
                output["completion_ids"].size(1),
                batch_size=self.config.per_device_train_batch_size,
                compute_entropy=True,
            )
        return cast(tuple[torch.Tensor, torch.Tensor, Any], found)

    def _reduce(self, entropy: RegionEntropy) -> RegionEntropy:
        """The sums and counts over all processes."""
        both = torch.stack((entropy.total, entropy.count))
        total, count = self._sum_over_ranks(both)
        return RegionEntropy(total, count)

    def _sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.accelerator.reduce(values, reduction="sum"))

    def _sampled_by_this_policy(self) -> bool:
        """Whether no optimiser step has followed since this generation was sampled."""
        window = (self.config.steps_per_generation or 1) * self.num_iterations
        return self._step % window < self.config.gradient_accumulation_steps

    def _log_difference(self, sampler: torch.Tensor, mask: torch.Tensor) -> None:
        """How far the sampler's log-probabilities are from the policy's that it was, [B, T]; by the
        names that TRL has for vLLM's.
        """
        assert self._captured_logps is not None
        apart = (self._captured_logps - sampler).abs() * mask
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

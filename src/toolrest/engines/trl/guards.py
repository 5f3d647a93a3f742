"""TRL's trainer that stops, or skips the step, where a number is not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from accelerate.utils import gather, gather_object
from trl.trainer.utils import is_async_callable

from toolrest.engines.common.incidents import Incident, NonFiniteError, describe_tensors
from toolrest.engines.trl.checkpoints import CheckpointTrainer
from toolrest.engines.trl.generation import Generation
from toolrest.engines.trl.gradients import CheckedGradients
from toolrest.engines.trl.parted import local_part

_LED_TO_A_GRADIENT = ("advantages", "old_per_token_logps", "importance_sampling_ratio")
"""Of the last micro-batch, what an incident describes."""


def _noting(function: Any, left_out: torch.Tensor) -> Any:
    """The same reward function; it sets `left_out`, [B], to False where it does not return None."""
    if isinstance(function, torch.nn.Module):
        left_out.zero_()
        return function

    def note(rewards: Any) -> list[Any]:
        rewards = list(rewards)
        for place, reward in enumerate(rewards[: len(left_out)]):
            left_out[place] &= reward is None
        return rewards

    if is_async_callable(function):

        async def noted_later(**columns: Any) -> list[Any]:
            return note(await function(**columns))

        return noted_later
    return lambda **columns: note(function(**columns))


class GuardedTrainer(CheckedGradients, CheckpointTrainer):
    """Checks rewards, token weights, gradients and parameters for NaN and infinity.

    Args:
        non_finite: `stop` or `skip`.
        on_incident: called in process 0 when one of them is not finite, before the rule is
            followed.

    TRL clips gradients and saves checkpoints without being given the batch, so each forward keeps
    its own in `_batch` for the incidents that are found there.
    """

    def __init__(
        self,
        *positional: Any,
        non_finite: str = "stop",
        on_incident: Callable[[Incident], None] = lambda incident: None,
        **keywords: Any,
    ) -> None:
        super().__init__(*positional, **keywords)
        self.non_finite = non_finite
        self._on_incident = on_incident
        self._batch: dict[str, torch.Tensor] = {}
        self._generation = Generation()

    def _compute_loss(self, model, inputs):
        self._batch = inputs
        return super()._compute_loss(model, inputs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """The parent's; responses without any finite reward stop the run or leave out their group.

        TRL takes a NaN for the None of a reward that does not apply, and leaves such a response
        out. That is kept where every reward function said None, and is a fault where one said NaN.
        """
        functions = self.reward_funcs
        left_out = torch.ones(len(prompts), dtype=torch.bool)
        self.reward_funcs = [_noting(function, left_out) for function in functions]
        try:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        finally:
            self.reward_funcs = functions
        missing = torch.isnan(rewards).all(dim=1)
        if missing.any():
            missing &= ~cast(torch.Tensor, gather(left_out.to(rewards.device)))
        broken = torch.isinf(rewards).any(dim=1) | missing
        if cast(torch.nn.Module, self.model).training and broken.any():
            self._incident("reward", {"rewards": rewards}, completion_ids_list)
            rewards = rewards.masked_fill(broken[:, None], 0.0)
            groups = broken.view(-1, cast(int, self.num_generations)).any(dim=1)
            mine = self.accelerator.process_index * len(prompts)
            rows = groups.repeat_interleave(cast(int, self.num_generations))
            self._generation.unscored = rows[mine : mine + len(prompts)]
        return rewards

    def _finite_rows(self, what: str, values: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The values, [B, ...]; rows that are not finite stop the run or, with `skip`, become 0.

        Args:
            ids: the responses that they are of, [B, T].
        """
        broken = ~torch.isfinite(values.view(len(values), -1)).all(dim=1)
        if not self._in_any_process(int(broken.sum())):
            return values
        self._incident(what, {what: values}, ids.tolist())
        shape = (-1,) + (1,) * (values.dim() - 1)
        return torch.where(broken.view(shape), torch.zeros_like(values), values)

    def _gradient_not_finite(self, model):
        """Stops the run, or drops the gradient."""
        kept = {key: v for key, v in self._batch.items() if key in _LED_TO_A_GRADIENT}
        self._incident("loss or gradient", kept, self._last_ids())
        model.zero_grad(set_to_none=True)

    def _last_ids(self) -> list[list[int]] | None:
        """The responses of the last forward; None before the first."""
        return self._batch["completion_ids"].tolist() if self._batch else None

    def _incident(
        self, what: str, tensors: dict[str, torch.Tensor], ids: Sequence[Sequence[int]] | None
    ) -> None:
        """Report an incident; then raise, if the rule is `stop` or a parameter is broken.

        Args:
            ids: the responses that it is about, [B] lists; None: not known.
        """
        parameters = self._broken_parameters()
        facts = {
            "rule": self.non_finite,
            "last_losses": [entry.get("loss") for entry in self.state.log_history[-5:]],
            "last_gradient_norms": [e.get("grad_norm") for e in self.state.log_history[-5:]],
            "parameters_not_finite": parameters[:20],
            "tensors": describe_tensors(tensors),
            "completion_ids": ids,
        }
        incident = Incident(self.state.global_step, what, facts)
        if self.accelerator.is_main_process:
            self._on_incident(incident)
        if parameters or self.non_finite == "stop":
            raise NonFiniteError(incident)
        self._metrics["train"]["guards/not_finite"].append(1.0)

    def _save_checkpoint(self, model, trial):
        """The parent's, unless a parameter is not finite."""
        if self._broken_parameters():
            self._incident("parameter", {}, self._last_ids())
        super()._save_checkpoint(model, trial)

    def _broken_parameters(self) -> list[str]:
        """Parameters of which any process's part is not finite; no step mends them, so the run
        stops by any rule. Every process calls this.
        """
        parameters = cast(torch.nn.Module, self.model).named_parameters()
        here = [name for name, value in parameters if not local_part(value).isfinite().all()]
        return list(dict.fromkeys(gather_object(here)))

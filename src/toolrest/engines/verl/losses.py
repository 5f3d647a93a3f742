"""verl's losses in which an advantage weighs its token, reporting which advantages they saw."""
# verl is not installed where the types are checked.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn, register_policy_loss

from toolrest.engines.verl.names import EXACT_LOSSES, loss_name
from toolrest.engines.verl.weights import received


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

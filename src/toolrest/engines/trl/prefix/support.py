"""Where prefixes can be shared exactly, and where micro-batches can be cut by tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType

from toolrest.engines.trl.parted import holds_parts
from toolrest.errors import InputError
from toolrest.estimate.shape import PACKED
from toolrest.rollout.attention_kind import full_attention

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer

KERNELS = ("sdpa", "eager")
"""Attention implementations that packed attention stands in for."""


def why_not(trainer: GRPOTrainer) -> str | None:
    """Why a trainer cannot share prefixes and compute what it would without; None if it can."""
    policy: Any = trainer.accelerator.unwrap_model(trainer.model)
    args = trainer.args
    config: Any = policy.config
    if not full_attention(policy) or config.model_type not in PACKED:
        return f"the attention of {type(policy).__name__} is not one that it computes"
    if policy.config._attn_implementation not in KERNELS:
        return f"attn_implementation={policy.config._attn_implementation} has kernels of its own"
    if trainer.aux_loss_enabled or getattr(config, "output_router_logits", False):
        return "a router loss counts each token as often as it is forwarded"
    if _drops_out(policy) or getattr(config, "attention_dropout", 0.0):
        return "dropout draws anew for each row that a token is in"
    if getattr(policy, "active_peft_config", None) is not None and (
        policy.active_peft_config.is_prompt_learning
    ):
        return "prompt learning puts tokens of its own before each row"
    if args.use_liger_kernel:
        return "use_liger_kernel scores tokens by a head of its own"
    if args.torch_compile:
        return "torch_compile compiles anew for each length"
    if holds_parts(trainer):
        return "processes that share the parameters forward in step, each as often as the others"
    if trainer.accelerator.distributed_type == DistributedType.MEGATRON_LM:
        return "Megatron-LM splits sequences itself"
    return None


def has_router_loss(policy: Any) -> bool:
    """Whether TRL adds a policy's own loss of its router, as it does by default."""
    config = policy.config.get_text_config()
    return hasattr(config, "output_router_logits") and bool(
        getattr(config, "router_aux_loss_coef", 0.0)
    )


def _drops_out(policy: torch.nn.Module) -> bool:
    return any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in policy.modules())


def check_micro_tokens(trainer: GRPOTrainer) -> None:
    """Refuse settings in which the losses of parts do not add up to that of all rows.

    Raises:
        InputError: naming the setting.
    """
    args: Any = trainer.args
    if args.micro_tokens < 1:
        raise InputError(f"micro_tokens must be at least 1; got {args.micro_tokens}")
    reason = None
    if args.top_entropy_quantile < 1.0:
        reason = "top_entropy_quantile ranks the tokens of a micro-batch"
    elif getattr(trainer, "_entropy_bonus_enabled", False):
        reason = "the entropy bonus is a mean over a micro-batch"
    elif trainer.aux_loss_enabled:
        reason = "the router loss is a mean over a micro-batch"
    elif trainer.accelerator.distributed_type == DistributedType.DEEPSPEED:
        reason = "DeepSpeed counts backward passes itself"
    elif holds_parts(trainer):
        reason = "processes that share the parameters forward in step, each as often"
    if reason is not None:
        raise InputError(
            f"micro_tokens={args.micro_tokens} cuts micro-batches in parts, but {reason}; leave it "
            "out and use per_device_train_batch_size"
        )

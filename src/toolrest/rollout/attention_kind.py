"""The kinds of attention that sharing a prompt is written for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def can_share_prefix(model: PreTrainedModel) -> bool:
    """Whether `toolrest.rollout.shared_prefix` computes the policy's attention: full, without
    soft-capping, through transformers' attention interface.
    """
    config: Any = model.config.get_text_config()
    return full_attention(model) and config.model_type in ("qwen2", "qwen3", "llama", "mistral")


def full_attention(model: PreTrainedModel) -> bool:
    """Whether each layer attends to all earlier tokens, without soft-capping, through transformers'
    attention interface.
    """
    config: Any = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or []
    base = cast(Any, model).get_base_model() if hasattr(model, "get_base_model") else model
    return (
        bool(getattr(base, "_supports_attention_backend", False))
        and all(kind == "full_attention" for kind in layers)
        and getattr(config, "sliding_window", None) is None
        and getattr(config, "attn_logit_softcapping", None) is None
    )

"""Attention of packed rows on a GPU: one call of FlashAttention for sequences of any lengths.

Group by group a layer takes some thirty kernels, and starting them takes longer than they run. Here
the keys and values of each prompt and each response are gathered, and
`torch.nn.attention.varlen` computes all of them.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.attention import varlen

from toolrest.engines.trl.prefix.packing import Sequences

_HALF = (torch.float16, torch.bfloat16)
_MOST_SIZE = 256
_OWN = set(inspect.signature(varlen.varlen_attn).parameters)
_GROUPED = "enable_gqa" in _OWN
"""Whether it takes fewer heads of keys than of queries; torch 2.11 does not say that it does."""


def precision(states: torch.Tensor) -> torch.dtype:
    """What attention computes in: autocast's word, as for torch's other kernels."""
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype


def fits(query: torch.Tensor) -> bool:
    """Whether there is a kernel: for a GPU from Ampere on, 16 bits, heads of up to 256.

    Args:
        query: [1, H, L, D].
    """
    size = query.shape[-1]
    return (
        query.is_cuda
        and torch.version.hip is None
        and "scale" in _OWN
        and precision(query) in _HALF
        and size % 8 == 0
        and size <= _MOST_SIZE
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


class _Gathered(torch.autograd.Function):
    """states[index]; gradients of a row that was taken several times are summed in float32."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.shape = states.shape
        return states.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # pyright: ignore
        (index,) = ctx.saved_tensors
        whole = torch.zeros(ctx.shape, dtype=torch.float32, device=gradient.device)
        return whole.index_add_(0, index, gradient.float()).to(gradient.dtype), None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    sequences: Sequences,
) -> torch.Tensor:
    """Causal attention of each sequence, aligned at its end; K divides H.

    Args:
        query: [1, H, L, D].
        key: [1, K, L, D].
        value: the same, [1, K, L, D].

    Returns:
        [1, L, H, D].
    """
    kind = precision(query)
    asked, keys, values = (states[0].transpose(0, 1).to(kind) for states in (query, key, value))
    repeats = asked.shape[1] // keys.shape[1]
    keys, values = (_Gathered.apply(states, sequences.keys) for states in (keys, values))
    if not _GROUPED and repeats > 1:
        keys, values = (states.repeat_interleave(repeats, dim=1) for states in (keys, values))
    grouped: dict[str, Any] = {"enable_gqa": True} if _GROUPED else {}
    found: Any = varlen.varlen_attn(
        asked,
        keys,
        values,
        sequences.query_ends,
        sequences.key_ends,
        sequences.most_queries,
        sequences.most_keys,
        scale=scaling,
        window_size=(-1, 0),
        **grouped,
    )
    return found[None]

"""Attention of packed rows, in which a group's prompt stands once.

The policy's own modules compute all the rest. What is computed is causal attention in each row, by
torch's kernels: the prompts first, each with itself, then a group's responses, each with its prompt
and itself. On a GPU in half precision one kernel computes all of them (`flash`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from toolrest.engines.trl.prefix import flash
from toolrest.engines.trl.prefix.packing import Group, Packed

BACKEND = "toolrest_packed_prefix"
"""Its name among transformers' attention implementations."""


def attend(  # noqa: PLR0913 -- transformers' attention interface
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    packed: Packed,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers' interface has it; K divides H.

    Args:
        query: [1, H, L, D].
        key: [1, K, L, D].
        value: the same, [1, K, L, D].

    Returns:
        ([1, L, H, D], None).
    """
    if flash.fits(query):
        return flash.attend(query, key, value, scaling, packed.sequences), None
    found = []
    for group in packed.groups:
        here = slice(group.start, group.end)
        found += _attend_group(
            group, query[0, :, here], key[0, :, here], value[0, :, here], scaling
        )
    return torch.cat(found, dim=1).transpose(0, 1)[None], None


def _attend_group(
    group: Group, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> list[torch.Tensor]:
    """[H, N, D] and twice [K, N, D] of a group's N tokens -> those of the prompt and of the
    responses, [H, P - 1, D] and [H, sum R, D].
    """
    heads, _, size = query.shape
    kinds = key.shape[0]
    shared = group.prompt
    found = []
    if shared:
        found.append(
            scaled_dot_product_attention(
                query[None, :, :shared],
                _each_head(key[None, :, :shared], heads),
                _each_head(value[None, :, :shared], heads),
                is_causal=True,
                scale=scaling,
            )[0]
        )
    rows, width = group.padded.shape
    # The heads that read the same keys stand behind each other as queries: [G, K, H / K * W, D].
    asked = query[:, shared:][:, group.padded].view(kinds, heads // kinds, rows, width, size)
    asked = asked.permute(2, 0, 1, 3, 4).reshape(rows, kinds, -1, size)
    keys, values = (
        torch.cat(
            (
                states[None, :, :shared].expand(rows, -1, -1, -1),
                states[:, shared:][:, group.padded].transpose(0, 1),
            ),
            dim=2,
        )
        for states in (key, value)
    )
    mask = group.mask.repeat(heads // kinds, 1)
    out = scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scaling)
    out = out.view(rows, kinds, heads // kinds, width, size).permute(1, 2, 0, 3, 4)
    found.append(out.reshape(heads, rows * width, size)[:, group.real])
    return found


def _each_head(states: torch.Tensor, heads: int) -> torch.Tensor:
    """[1, K, N, D] -> [1, H, N, D]: each head's keys or values."""
    return states.repeat_interleave(heads // states.shape[1], dim=1)


AttentionInterface.register(BACKEND, cast(Any, attend))


class PackedForwards:
    """Puts packed attention in the place of policies' own, until `restore`."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def use(self, policy: Any, packed: Packed) -> dict[str, Any]:
        """From here on the policy's forwards, and backwards that recompute them, are packed.

        Args:
            policy: with TRL's fused head; not wrapped for processes.

        Returns:
            What its forward takes.
        """
        if policy.config._attn_implementation != BACKEND:
            before = policy.config._attn_implementation
            policy.set_attn_implementation(BACKEND)
            base = policy.get_base_model() if hasattr(policy, "get_base_model") else policy
            hook = base.base_model.register_forward_hook(_keep_scored, with_kwargs=True)
            self._undo += [hook.remove, lambda: policy.set_attn_implementation(before)]
        return {
            "input_ids": packed.ids,
            "position_ids": packed.positions,
            "shift_labels": packed.labels,
            "packed": packed,
            "fused_lm_head": True,
        }

    def restore(self) -> None:
        """Put back what was there before."""
        while self._undo:
            self._undo.pop()()


def _keep_scored(
    module: torch.nn.Module, positional: Any, keywords: dict[str, Any], output: Any
) -> Any:
    """Leave to the head only the states that predict a response token."""
    packed: Packed = keywords["packed"]
    output.last_hidden_state = output.last_hidden_state[:, packed.scored]
    return output

"""Advantages: normalised within a group of rollouts, then weighted token by token."""

from __future__ import annotations

import torch


def group_normalise(rewards: torch.Tensor, group_size: int, delta: float = 1e-4) -> torch.Tensor:
    """A_i = (R_i - mean R) / (std R + delta) over each group (GRPO, arXiv 2402.03300).

    Args:
        rewards: one reward a response, [B]; a group's responses stand next to each other.
        group_size: responses to one prompt; B is a multiple of it.
        delta: keeps a group of equal rewards at 0.

    Returns:
        Advantages, [B]. The standard deviation is the sample's (divided by group_size - 1); a group
        of one response gets 0.

    Raises:
        ValueError: B is not a multiple of the group size.
    """
    if rewards.dim() != 1 or group_size < 1 or rewards.numel() % group_size:
        raise ValueError(
            f"rewards must be [B] with B a multiple of the group size; got "
            f"{tuple(rewards.shape)} and {group_size}"
        )
    groups = rewards.view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    if group_size == 1:
        return torch.zeros_like(rewards)
    return (centred / (groups.std(dim=1, keepdim=True) + delta)).view(-1)


def apply(weights: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Per-token advantages w_t * A_i (ResT, section 3); since w >= 0 the sign stays.

    Args:
        weights: [B, T], detached, >= 0.
        advantages: [B].

    Returns:
        [B, T].
    """
    return weights * advantages.unsqueeze(1)

"""Sums that stay exact to six digits, also over 10^7 tokens and without float64."""

from __future__ import annotations

import torch

WITHOUT_FLOAT64 = frozenset({"mps"})
"""Kinds of device that have no float64."""


def widest(device: torch.device | str) -> torch.dtype:
    """Float64, or float32 on a device that has no float64."""
    return torch.float32 if torch.device(device).type in WITHOUT_FLOAT64 else torch.float64


def widen(values: torch.Tensor) -> torch.Tensor:
    """The values in the widest floats of their device."""
    return values.to(widest(values.device))


def exact_place(device: torch.device | str) -> torch.device:
    """Where sums are kept in float64: the device, or the CPU where it has no float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def exact(values: torch.Tensor) -> torch.Tensor:
    """The values in float64, in their `exact_place`."""
    return values.to(exact_place(values.device)).double()


def sums_by(values: torch.Tensor, where: torch.Tensor, count: int) -> torch.Tensor:
    """The sum of the values of each place, over the last axis.

    In float64 and int64 they are scattered, which adds one after the other and still keeps more
    than six digits of any number of values; in float32 that loses them, so each place has a
    `torch.sum`, which adds pairwise.

    Args:
        values: [..., T].
        where: the place of each value, [..., T]; one outside of 0 .. count - 1 is left out.
        count: how many places there are.

    Returns:
        Of the dtype of the values, [..., count].
    """
    if values.dtype in (torch.float64, torch.int64):
        last = torch.where((where >= 0) & (where < count), where, count)
        sums = values.new_zeros(*values.shape[:-1], count + 1)
        return sums.scatter_add(-1, last, values)[..., :count]
    each = [torch.where(where == place, values, 0).sum(-1) for place in range(count)]
    return torch.stack(each, -1) if each else values.new_zeros(*values.shape[:-1], 0)

"""Which values are among the greatest of a batch."""

from __future__ import annotations

import torch


def top_threshold(values: torch.Tensor, share: float) -> torch.Tensor:
    """The value from which the greatest `share` of `values` begins: their quantile 1 - share.

    Between two values it is interpolated, as by `torch.quantile`, which refuses more than 16
    million values; a generation of many processes can have them.

    Args:
        values: [N], at least one.
        share: in (0, 1].

    Returns:
        Float32, a scalar.
    """
    ordered = values.float().sort().values
    place = (1 - share) * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)

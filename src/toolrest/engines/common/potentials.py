"""Potentials of sampled responses, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from toolrest.core.credit import Decided
from toolrest.core.rewards.decisions import Potentials
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.reward import ToolReward


def batch_potentials(
    ids: torch.Tensor,
    mask: torch.Tensor,
    asked: Sequence[Asked],
    reward: ToolReward,
    vocabulary: Vocabulary,
    progress: float,
) -> Decided:
    """The potentials of a batch of responses, and the number of decisions before each token.

    Args:
        ids: sampled token ids, [B, T].
        mask: which of them the policy sampled, bool, [B, T].
        asked: what each response is scored by, [B].
        progress: as in `ToolReward.score`.

    Returns:
        The potentials; a token with a decision's byte still counts as before it.
    """
    potentials: list[Potentials] = []
    num_decided = torch.zeros_like(ids)
    for row, each in enumerate(asked):
        blob, offsets = vocabulary.concatenate(ids[row][mask[row]].cpu().numpy())
        potentials.append(reward.potentials(blob, each, progress))
        deciding = np.searchsorted(offsets, potentials[-1].positions, side="right") - 1
        passed = np.searchsorted(deciding, np.arange(len(offsets) - 1), side="left")
        num_decided[row, mask[row]] = torch.from_numpy(passed).to(num_decided)
    return Decided(
        [each.values for each in potentials], num_decided, [each.no_call for each in potentials]
    )

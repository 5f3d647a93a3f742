"""Potentials of sampled responses, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from toolrest.core.rewards.decisions import Potentials
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.reward import ToolReward


def batch_potentials(
    ids: torch.Tensor,
    mask: torch.Tensor,
    truths: Sequence[str],
    reward: ToolReward,
    vocabulary: Vocabulary,
    progress: float,
    *,
    openings: Sequence[str] | None = None,
    tools: Sequence[Any] | None = None,
) -> tuple[list[Potentials], torch.Tensor]:
    """The potentials of a batch, as `toolrest.core.credit.reward_to_go` takes them.

    Args:
        ids: sampled token ids, [B, T].
        mask: which of them the policy sampled, bool, [B, T].
        truths: the ground truth of each response.
        openings: the part of each reply that its prompt has written already; None: nothing.
        tools: those of each row; see `ToolReward.score`.

    Returns:
        (potentials of each response, [B]; number of decisions before each token, int64, [B, T]).
        The token with a decision's byte still counts as before it.
    """
    potentials: list[Potentials] = []
    num_decided = torch.zeros_like(ids)
    for row, truth in enumerate(truths):
        blob, offsets = vocabulary.concatenate(ids[row][mask[row]].cpu().numpy())
        opening = "" if openings is None else openings[row]
        known = None if tools is None else tools[row]
        potentials.append(reward.potentials(blob, truth, progress, opening, known))
        deciding = np.searchsorted(offsets, potentials[-1].positions, side="right") - 1
        passed = np.searchsorted(deciding, np.arange(len(offsets) - 1), side="left")
        num_decided[row, mask[row]] = torch.from_numpy(passed).to(num_decided)
    return potentials, num_decided

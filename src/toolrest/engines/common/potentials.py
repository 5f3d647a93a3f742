"""Decided parts of the rewards of sampled responses, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from toolrest.core.rewards.decisions import LockedIn
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.reward import ToolReward


def decided_parts(
    ids: torch.Tensor,
    mask: torch.Tensor,
    truths: Sequence[str],
    reward: ToolReward,
    vocabulary: Vocabulary,
    progress: float,
    *,
    openings: Sequence[str] | None = None,
    tools: Sequence[Any] | None = None,
) -> tuple[list[LockedIn], torch.Tensor]:
    """What `toolrest.core.credit.reward_to_go` needs of a batch.

    Args:
        ids: sampled token ids, [B, T].
        mask: which of them the policy sampled, bool, [B, T].
        truths: the ground truth of each response.
        openings: what each prompt has written of the reply already; None: nothing.
        tools: those of each row; see `ToolReward.score`.

    Returns:
        What each response's decisions are worth, and how many of them were made before each token,
        int64, [B, T]. The token that holds a decision's byte is the last one that had a say.
    """
    locked: list[LockedIn] = []
    stages = torch.zeros_like(ids)
    for row, truth in enumerate(truths):
        blob, offsets = vocabulary.concatenate(ids[row][mask[row]].cpu().numpy())
        opening = "" if openings is None else openings[row]
        known = None if tools is None else tools[row]
        locked.append(reward.locked_in(blob, truth, progress, opening, known))
        deciding = np.searchsorted(offsets, locked[-1].positions, side="right") - 1
        passed = np.searchsorted(deciding, np.arange(len(offsets) - 1), side="left")
        stages[row, mask[row]] = torch.from_numpy(passed).to(stages)
    return locked, stages

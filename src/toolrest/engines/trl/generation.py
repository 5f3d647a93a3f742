"""What is known of the generation that the trainer samples and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from toolrest.core.rewards import RewardBreakdown


@dataclass
class Generation:
    """One generation's responses on this process, as far as they are known yet.

    TRL's trainer calls its hooks one after the other and passes on what it knows itself; this
    record passes on the rest. Each generation begins with a new one.
    """

    prompt_ids: list[list[int]] | None = None
    """Ids of each prompt, [B] lists, where the data set has them; None: TRL tokenises."""
    openings: list[str] = field(default_factory=list)
    """What each prompt has written of the reply already, [B]."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each response, [B], of which the loss may leave some out."""
    sampled: list[list[bool]] | None = None
    """Which tokens the policy sampled, [B] lists; None: all of them."""
    drawn: list[torch.Tensor] | None = None
    """What the sampler tells of the tokens, [B] tensors [T, 3]; None: nothing."""
    forks: torch.Tensor | None = None
    """The first token of each row that its siblings do not share, int64, [B]; None: no group
    branches."""
    rewards: torch.Tensor | None = None
    """What advantages are made of, [B]; NaN where there is none. None: not yet known."""
    breakdowns: list[RewardBreakdown] = field(default_factory=list)
    """Parts of the first `ToolReward`'s rewards, [B]; empty where there is none."""
    unscored: torch.Tensor | None = None
    """Rows that a fault leaves out of the loss, bool, [B]; None: none."""

    rows: Sequence[dict[str, Any]] = ()
    """The rows of the data set, [B]."""

    @classmethod
    def of(cls, inputs: Sequence[dict[str, Any]]) -> Generation:
        """The beginning of a generation of responses to rows of the data set."""
        if any("prompt_ids" not in row for row in inputs):
            return cls(rows=inputs)
        return cls(prompt_ids=[row["prompt_ids"] for row in inputs], rows=inputs)

    def mask(self, row: int) -> list[bool] | None:
        """Which tokens of a response the policy sampled; None: all of them."""
        return None if self.sampled is None else self.sampled[row]


def counted_tokens(batch: dict[str, Any]) -> torch.Tensor:
    """The tokens of TRL's batch that the loss counts, bool, [B, T]."""
    return _without_results(batch["completion_mask"].bool(), batch)


def sampled_tokens(batch: dict[str, Any], lengths: Sequence[int]) -> torch.Tensor:
    """The tokens of TRL's batch that the policy sampled, bool, [B, T].

    Args:
        lengths: tokens of each response, of which the loss may leave some out, [B].
    """
    ids = batch["completion_ids"]
    places = torch.arange(ids.size(1), device=ids.device)
    within = places < torch.tensor(lengths, device=ids.device)[:, None]
    return _without_results(within, batch)


def _without_results(mask: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
    return mask & batch["tool_mask"].bool() if "tool_mask" in batch else mask

"""Draws tokens from a policy's probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from toolrest.core.precision import exact


@dataclass(frozen=True)
class Draw:
    """How a token is drawn from the policy's probabilities, in the order of the fields."""

    temperature: float = 1.0
    """Logits are divided by it."""
    top_k: int = 0
    """Of so many of the likeliest; 0: of all."""
    top_p: float = 1.0
    """Of the likeliest that together have this probability."""
    min_p: float = 0.0
    """Of those that have at least this share of the likeliest's probability."""

    @property
    def of_all(self) -> bool:
        """Whether every token may be drawn."""
        return self.top_k == 0 and self.top_p >= 1 and self.min_p <= 0


def draw_tokens(
    logits: torch.Tensor, draw: Draw, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample one token a row by the inverse of its CDF; logits [B, V], uniforms [B].

    Returns:
        (tokens [B], their statistics as in `Sampled` [B, 3]).
    """
    scores = logits.float() / draw.temperature
    chances = torch.softmax(scores, dim=-1)
    kept = chances if draw.of_all else torch.softmax(_left(scores, draw), dim=-1)
    cumulative = exact(kept).cumsum(-1)
    drawn = (uniforms * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, drawn, right=True).clamp(max=logits.shape[1] - 1)
    tokens = tokens.to(chances.device)
    of_each = (
        chances.gather(1, tokens).log()[:, 0],
        torch.special.entr(chances).sum(-1),
        1.0 - chances.square().sum(-1),
    )
    return tokens[:, 0], torch.stack(of_each, dim=-1)


def _left(scores: torch.Tensor, draw: Draw) -> torch.Tensor:
    """The scores with minus infinity where a token may not be drawn, [B, V]."""
    unused = cast(torch.LongTensor, torch.empty(0, dtype=torch.long))
    kept = cast(torch.FloatTensor, scores)
    if draw.top_k > 0:
        kept = TopKLogitsWarper(draw.top_k)(unused, kept)
    if draw.top_p < 1:
        kept = TopPLogitsWarper(draw.top_p)(unused, kept)
    return MinPLogitsWarper(draw.min_p)(unused, kept) if draw.min_p > 0 else kept

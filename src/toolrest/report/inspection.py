"""One response, token by token: regions, weights, entropies, calls and reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolrest.core.dialects import Reply
from toolrest.core.regions import Region, label_tokens
from toolrest.core.rewards.score import RewardBreakdown
from toolrest.core.weights import RegionEntropy, Scheme, TokenBatch
from toolrest.engines.common.reward import ToolReward
from toolrest.policy.speech import Speech


@dataclass(frozen=True)
class Token:
    """A sampled token, and what is known of it."""

    text: str
    """Its text; bytes that are no UTF-8 by themselves become U+FFFD."""
    region: Region
    """Its region."""
    weight: float
    """Its weight in the policy gradient."""
    entropy: float | None = None
    """Of the distribution that it was drawn from, nats, where a policy is at hand."""


@dataclass(frozen=True)
class Inspection:
    """A response as toolrest sees it."""

    tokens: list[Token]
    reply: Reply
    reward: RewardBreakdown | None
    """What it earns, where a ground truth is known."""


def inspect_response(
    ids: Sequence[int],
    speech: Speech,
    scheme: Scheme,
    entropy: RegionEntropy | None,
    progress: float,
    *,
    entropies: Sequence[float] | None = None,
    truth: str | None = None,
    opening: str = "",
) -> Inspection:
    """Look at a response.

    Args:
        ids: its sampled tokens, the end of the turn included where there is one.
        entropy: the region entropies that the scheme weighs by.
        progress: of the curriculum, in [0, 1].
        entropies: of the tokens' distributions, nats, where a policy has measured them.
        truth: the ground truth, in the same dialect.
        opening: what the prompt has written of the reply already.

    Raises:
        ValueError: the scheme weighs tokens one by one, or needs region entropies and has none.
    """
    if scheme.reads_tokens:
        raise ValueError("this scheme weighs tokens by what their group did; inspect a run instead")
    row = torch.tensor([list(ids)], dtype=torch.int64)
    mask = torch.ones_like(row, dtype=torch.bool)
    regions = label_tokens(
        row,
        mask,
        speech.vocabulary,
        speech.dialect,
        openings=[opening],
        scaffolding=scheme.scaffolding,
    )
    weights = scheme(TokenBatch(regions, mask, progress, entropy))[0].tolist()
    found = [Region(region) for region in regions[0].tolist()]
    return inspect_recorded(
        ids, found, weights, speech, entropies=entropies, truth=truth, opening=opening
    )


def inspect_recorded(
    ids: Sequence[int],
    regions: Sequence[Region],
    weights: Sequence[float],
    speech: Speech,
    *,
    entropies: Sequence[float] | None = None,
    truth: str | None = None,
    opening: str = "",
) -> Inspection:
    """Look at a response whose regions and weights are known; as `inspect_response`.

    Raises:
        ValueError: not as many regions, weights or entropies as tokens.
    """
    known = [None] * len(ids) if entropies is None else list(entropies)
    tokens = [
        Token(speech.vocabulary.text([token]), region, weight, each)
        for token, region, weight, each in zip(ids, regions, weights, known, strict=True)
    ]
    text = speech.vocabulary.text(ids)
    reward = None
    if truth is not None:
        scorer = ToolReward(speech.dialect.name, "constant", opening=opening)
        reward = scorer.score(text, truth)
    return Inspection(tokens, speech.dialect.parse(text, opening=opening), reward)

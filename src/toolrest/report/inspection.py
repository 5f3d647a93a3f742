"""One response, token by token: regions, weights, entropies, calls and reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from toolrest.core.dialects import Reply
from toolrest.core.dialects.types import Tools
from toolrest.core.regions import Region, label_tokens
from toolrest.core.rewards.score import RewardBreakdown
from toolrest.core.weights import RegionEntropy, Scheme, TokenBatch
from toolrest.engines.common.reward import ToolReward
from toolrest.policy.speech import Speech

UNFINISHED = "⋯"
"""Stands for a token that has nothing but the first bytes of a character."""


@dataclass(frozen=True)
class Token:
    """A sampled token with its region, weight and entropy."""

    text: str
    """Its text. A character of several tokens is on the last of them, the others have `UNFINISHED`;
    what is no UTF-8 becomes U+FFFD.
    """
    region: Region
    """Its region."""
    weight: float
    """Its weight in the policy gradient."""
    entropy: float | None = None
    """Of the distribution that it was drawn from, nats, where a policy is at hand."""
    name: str | None = None
    """What the vocabulary calls it where it stands for no text, as the end of the turn does."""


@dataclass(frozen=True)
class Inspection:
    """A response with its tokens, parsed reply and reward."""

    tokens: list[Token]
    reply: Reply
    reward: RewardBreakdown | None
    """What it earns with the ranges of the schedule `constant`, where a ground truth is known."""
    trained: str | None = None
    """The reward that training counted, and by what schedule, where that is another."""
    cut: bool = False
    """Whether it is known to have been cut at the length limit."""
    note: str | None = None
    """What is to be said of which response it is."""
    facts: tuple[tuple[str, str], ...] = ()
    """Where it is from: name and value of each fact."""
    prompt: str | None = None
    """What it answers, where that is known."""
    truth: str | None = None
    """The ground truth, where that is known."""

    @property
    def status(self) -> str:
        """How the reply was parsed, and whether it was cut."""
        return told_status(self.reply.status, self.cut)


def told_status(status: str, cut: object) -> str:
    """A parse status, with what is said of a response that was cut at the length limit."""
    return f"{status}, but cut at the length limit" if cut is True else status


@dataclass(frozen=True)
class Response:
    """A sampled response, and what is known beside it."""

    ids: Sequence[int]
    """Its tokens, the end of the turn included where there is one."""
    speech: Speech
    """How the policy writes."""
    entropies: Sequence[float] | None
    """Of the tokens' distributions, nats, where a policy has measured them."""
    truth: str | None
    """The ground truth, in the same dialect."""
    opening: str
    """What the prompt has written of the reply already."""
    scorer: ToolReward
    """What scores it against the ground truth; it knows the same opening."""
    names: Mapping[int, str] = field(default_factory=dict)
    """What the vocabulary calls tokens that may stand for no text, by id."""
    tools: Tools = None
    """Those that could be called, where they are known and the dialect reads values by them."""

    def label(self, scaffolding: Region) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens' regions and a mask of all of them, [1, T] each.

        Args:
            scaffolding: the region of call scaffolding and the end of the turn.
        """
        row = torch.tensor([list(self.ids)], dtype=torch.int64)
        mask = torch.ones_like(row, dtype=torch.bool)
        vocabulary, dialect = self.speech.vocabulary, self.speech.dialect
        openings = [self.opening]
        regions = label_tokens(
            row, mask, vocabulary, dialect, openings=openings, scaffolding=scaffolding
        )
        return regions, mask


def inspect_response(
    response: Response, scheme: Scheme, entropy: RegionEntropy | None, progress: float
) -> Inspection:
    """Label and weight the tokens of a response.

    Args:
        entropy: the region entropies that the scheme weighs by.
        progress: of the curriculum, in [0, 1].

    Raises:
        ValueError: the scheme weighs tokens one by one or by gradients, or needs region entropies
            and has none.
    """
    if scheme.reads_tokens:
        raise ValueError("this scheme weighs tokens by what their group did; inspect a run instead")
    if scheme.reads_signal:
        raise ValueError(
            "this scheme weighs by gradients of its run's earlier batches, which no response "
            "tells; inspect a run of it, whose rollouts have their weights"
        )
    regions, mask = response.label(scheme.scaffolding)
    weights = scheme(TokenBatch(regions, mask, progress, entropy))[0].tolist()
    return inspect_recorded(response, [Region(each) for each in regions[0].tolist()], weights)


def inspect_recorded(
    response: Response, regions: Sequence[Region], weights: Sequence[float]
) -> Inspection:
    """The inspection of a response with known regions and weights; see `inspect_response`.

    Raises:
        ValueError: not as many regions, weights or entropies as tokens.
    """
    ids, opening = response.ids, response.opening
    vocabulary, dialect = response.speech.vocabulary, response.speech.dialect
    known = [None] * len(ids) if response.entropies is None else list(response.entropies)
    tokens = [
        Token(piece, region, weight, each, None if piece else response.names.get(index))
        for index, piece, region, weight, each in zip(
            ids, vocabulary.pieces(ids, UNFINISHED), regions, weights, known, strict=True
        )
    ]
    text = vocabulary.text(ids)
    reward = None
    if response.truth is not None:
        reward = response.scorer.score(text, response.truth, tools=response.tools)
    reply = dialect.parse(text, response.tools, opening=opening)
    return Inspection(tokens, reply, reward, truth=response.truth)

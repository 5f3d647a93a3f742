"""Turns of a trajectory: runs of sampled tokens with tokens that were read in between.

sampled  1 1 1 0 0 0 1 1 0 0 1
turn     0 0 0 - - - 1 1 - - 2
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch

from toolrest.core.credit import Decided
from toolrest.core.precision import sums_by, widen
from toolrest.core.weights.base import DELTA


def turn_numbers(sampled: torch.Tensor) -> torch.Tensor:
    """The turn of each token, from 0; -1 where it was not sampled.

    Args:
        sampled: which tokens the policy sampled, bool, [B, T].

    Returns:
        Int64, [B, T].
    """
    before = torch.nn.functional.pad(sampled, (1, 0))[:, :-1]
    return torch.where(sampled, (sampled & ~before).cumsum(1) - 1, -1)


class Part(IntEnum):
    """Where in its trajectory a turn is."""

    FIRST = 0
    MIDDLE = 1
    LAST = 2


def turn_parts(sampled: torch.Tensor) -> torch.Tensor:
    """The `Part` that each token's turn is of its trajectory, where an only turn is the first; -1
    where the token was not sampled.

    Args:
        sampled: which tokens the policy sampled, bool, [B, T].

    Returns:
        Int64, [B, T].
    """
    turns = turn_numbers(sampled)
    if not turns.numel():
        return turns
    last = turns.amax(1, keepdim=True)
    parts = torch.where(turns == last, int(Part.LAST), int(Part.MIDDLE))
    parts = torch.where(turns == 0, int(Part.FIRST), parts)
    return torch.where(sampled, parts, -1)


def normalise_turns(weights: torch.Tensor, sampled: torch.Tensor) -> torch.Tensor:
    """Scale the weights of each turn to mean 1, so that they move gradient within turns alone.

    Weights of mean 1 over a whole trajectory move gradient between its turns: a turn of many
    structural tokens gains from one of long thoughts. What a turn is worth is said by its credit.

    Args:
        weights: of mean 1 over each row, as a scheme gives them, [B, T].
        sampled: which tokens the policy sampled, bool, [B, T].

    Returns:
        [B, T]. A row of one turn, and a turn whose weights are all 0, stay as they are.
    """
    turns = turn_numbers(sampled)
    most = int(turns.max()) + 1 if turns.numel() else 0
    if most <= 1:
        return weights
    counted = torch.where(sampled, widen(weights), 0.0)
    totals = sums_by(counted, turns, most)
    counts = sums_by(sampled.long(), turns, most)
    means = (totals / counts.clamp(min=1)).gather(1, turns.clamp(min=0))
    scaled = (counted / (means + DELTA)).to(weights.dtype)
    several = turns.amax(1, keepdim=True) > 0
    return torch.where(several, scaled, weights)


def turn_decisions(rewards: Sequence[Sequence[float]], sampled: torch.Tensor) -> Decided:
    """Turns as the decisions of `toolrest.core.credit.reward_to_go`: a token gets what its own
    turn and later ones earn.

    Beyond a row's last turn its remainder stands for it, the reward of its last turn. So each stage
    has the mean of all rows of the group as its baseline, which is unbiased; the mean of the rows
    that have such a turn is not, since its size depends on what they did.

    Args:
        rewards: of each turn, [B] lists.
        sampled: which tokens the policy sampled, bool, [B, T].

    Raises:
        ValueError: a row has more turns than rewards.
    """
    turns = turn_numbers(sampled)
    most = turns.amax(1).tolist() if turns.numel() else [-1] * len(turns)
    for row, (each, last) in enumerate(zip(rewards, most, strict=True)):
        if last >= len(each):
            raise ValueError(f"row {row}: {last + 1} turns and {len(each)} rewards of turns")
    potentials = []
    for each in rewards:
        sums, total = [], 0.0
        for reward in each[:-1]:
            total += reward
            sums.append(total)
        potentials.append(sums)
    return Decided(potentials, turns.clamp(min=0))

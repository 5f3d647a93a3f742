"""Groups of responses that branch: where they are forked, and what their tokens are credited with.

A group has K trunks, sampled from the prompt. Each is the first of a family of m: the others are
sampled anew from its tokens before a fork, the start of a tool's name or of a parameter's value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from toolrest.core.dialects import Dialect
from toolrest.core.precision import exact
from toolrest.core.rewards.decisions import find_decisions

_PERHAPS = re.compile(r':\s*"?\Z')
"""Where in JSON a name or a value can begin: after a colon, or after its opening quote."""
_PROBES = ((b'x"', "x"), (b"1,", 1))
"""What is written to see whether a name or a value begins here, and the value that it would be."""


def decision_starts(tokens: list[bytes], dialect: Dialect, opening: str = "") -> list[int]:
    """Where a response begins to write a tool's name or a parameter's value: the index of the
    first token that is part of it, for calls that are written in JSON.

    Whether one begins at a token follows from the tokens before it alone, so that a fork there is
    chosen without a look at what comes after. A token that ends what was before and begins the
    value in one is passed over.

    Args:
        tokens: the bytes of each token of the response, [T].
        dialect: how the policy writes calls.
        opening: what the prompt has written of the reply already.
    """
    found: list[int] = []
    last = -1
    text = b""
    for position, token in enumerate(tokens):
        if position and _PERHAPS.search(text[-64:].decode("latin-1")):
            decided = len(find_decisions(text, dialect, opening))
            if decided > last and _begins(text, dialect, opening):
                found.append(position)
                last = decided
        text += token
    return found


def _begins(text: bytes, dialect: Dialect, opening: str) -> bool:
    """Whether what is written next is a name or a value from its first letter on."""
    for written, value in _PROBES:
        decisions = find_decisions(text + written, dialect, opening)
        if not decisions or decisions[-1].position < len(text):
            continue
        call = decisions[-1].calls[-1]
        made = list(call.parameters.values())[-1] if call.parameters else call.name
        if made == value and type(made) is type(value):
            return True
    return False


@dataclass(frozen=True)
class Families:
    """How the responses of a batch branch. A family's rows stand next to each other, and so do a
    group's."""

    forks: torch.Tensor
    """The first token of a row that its siblings do not share, int64, [B]; the same for a family. T
    or more: the row was never forked, and its siblings are copies."""
    group_size: int
    """G, a multiple of `branches` and at least twice that."""
    branches: int
    """Rows of a family, m, at least 2."""

    def __post_init__(self) -> None:
        group, branches = self.group_size, self.branches
        if branches < 2 or group % branches or group < 2 * branches:
            raise ValueError(
                f"a group of {group} is not two families of {branches} or more; families are of 2 "
                "at least"
            )


def fork_advantages(
    rewards: torch.Tensor,
    families: Families,
    width: int,
    *,
    scale: str | float = "group",
    delta: float = 1e-4,
) -> torch.Tensor:
    """Per-token advantages of families, [B, T]: a token is compared with what else could have
    followed what was there before it.

    With b_i the mean reward of the other families of row i's group, f_i its fork and s_i the mean
    reward of its siblings, and G the group size,

        A_{i,t} = (1 - 1/G) (R_i - b_i) / (sigma + delta)    for t < f_i
        A_{i,t} = (1 - 1/G) (R_i - s_i) / (sigma + delta)    for t >= f_i

    The tokens before a fork stand in each row of the family, each time with that row's reward:
    together they count as one sample with the mean reward of what followed. Both baselines are of
    responses that are drawn independently of the token, given what was before it, so the sum over
    rows is (1 - 1/G) times an unbiased estimate of the gradient, as GRPO's is (without sigma).
    A row that was never forked, f_i = T or more, counts as its whole family: m copies.

    Args:
        rewards: [B]. One of NaN is not known: its row gets 0 and counts for no mean.
        families: forks f_i and sizes.
        width: T.
        scale: what sigma is: `group`, the standard deviation of the group's rewards; `none`; or a
            number.

    Raises:
        ValueError: sizes that do not fit.
    """
    forks, group_size, branches = families.forks, families.group_size, families.branches
    if rewards.dim() != 1 or rewards.shape != forks.shape or len(rewards) % group_size:
        raise ValueError(
            f"rewards and forks must be [B] with B a multiple of {group_size}; got "
            f"{tuple(rewards.shape)} and {tuple(forks.shape)}"
        )
    values = exact(rewards).view(-1, group_size // branches, branches)  # [P, K, m]
    known = ~values.isnan()
    counted = torch.where(known, values, 0.0)
    sums, counts = counted.sum(2), known.sum(2)
    means = sums / counts.clamp(min=1)  # of each family
    told = counts > 0
    whole = torch.where(told, means, 0.0).sum(1, keepdim=True)
    others = (whole - torch.where(told, means, 0.0)) / (
        told.sum(1, keepdim=True) - told.long()
    ).clamp(min=1)
    alone = (told.sum(1, keepdim=True) - told.long()) < 1
    siblings = (sums[..., None] - counted) / (counts[..., None] - known.long()).clamp(min=1)
    lonely = (counts[..., None] - known.long()) < 1
    before = torch.where(alone[..., None], 0.0, counted - others[..., None])
    after = torch.where(lonely, 0.0, counted - siblings)
    factor = torch.full_like(values[:, :1, :1], 1.0 - 1.0 / group_size)
    if scale == "group":
        factor = factor / (_deviation(counted, known) + delta)
    elif not isinstance(scale, str):
        factor = factor / (scale + delta)
    shown = [torch.where(known, each * factor, 0.0).view(-1, 1) for each in (before, after)]
    places = torch.arange(width, device=forks.device)[None, :]
    return torch.where(places < forks[:, None], *shown).to(rewards.dtype)


def _deviation(counted: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The sample standard deviation of each group's known values, [P, 1, 1]; 0 of one alone."""
    count = known.sum((1, 2), keepdim=True)
    mean = counted.sum((1, 2), keepdim=True) / count.clamp(min=1)
    squares = torch.where(known, counted - mean, 0.0).square().sum((1, 2), keepdim=True)
    return (squares / (count - 1).clamp(min=1)).sqrt()

"""Advantages: normalised within a group of rollouts, then weighted token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toolrest.core.precision import exact, widest


@dataclass(frozen=True)
class Decided:
    """What the responses of a batch decide of their rewards, and where."""

    potentials: Sequence[Sequence[float]]
    """phi_i(1), .., phi_i(S_i) of each response, [B] lists of length S_i."""
    num_decided: torch.Tensor
    """s(i, t), the number of decisions before each token, int64, [B, T]."""
    no_call: Sequence[float] | None = None
    """c_i, the reward of a well-formed reply without calls, [B]; None: 0. Only matters with a
    discount below 1.
    """


def group_normalise(rewards: torch.Tensor, group_size: int, delta: float = 1e-4) -> torch.Tensor:
    """A_i = (R_i - mean R) / (std R + delta) over each group (GRPO, arXiv 2402.03300).

    Args:
        rewards: one reward a response, [B]; a group's responses stand next to each other.
        group_size: responses to one prompt; B is a multiple of it.
        delta: keeps a group of equal rewards at 0.

    Returns:
        Advantages, [B]. The standard deviation is the sample's (divided by group_size - 1); a group
        of one response gets 0.

    Raises:
        ValueError: B is not a multiple of the group size.
    """
    _check_groups(rewards, group_size)
    groups = rewards.view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    if group_size == 1:
        return torch.zeros_like(rewards)
    return (centred / (groups.std(dim=1, keepdim=True) + delta)).view(-1)


def _check_groups(rewards: torch.Tensor, group_size: int) -> None:
    if rewards.dim() != 1 or group_size < 1 or rewards.numel() % group_size:
        raise ValueError(
            f"rewards must be [B] with B a multiple of the group size; got "
            f"{tuple(rewards.shape)} and {group_size}"
        )


def apply(weights: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Per-token advantages w_t * A_i (ResT, section 3); since w >= 0 the sign stays.

    Args:
        weights: [B, T], detached, >= 0.
        advantages: [B], or [B, T] where tokens have advantages of their own.

    Returns:
        [B, T].
    """
    return weights * (advantages.unsqueeze(1) if advantages.dim() == 1 else advantages)


def reward_to_go(
    rewards: torch.Tensor,
    decided: Decided,
    group_size: int,
    *,
    discount: float = 1.0,
    scale: str | float = "group",
    delta: float = 1e-4,
) -> torch.Tensor:
    """Per-token advantages, [B, T]: each token gets only the reward not yet decided before it.

    Let phi_i(s) be the potential of response i after the first s of its S_i decisions
    (phi_i(0) = 0), s(i, t) the number of decisions before token t, gamma the discount. Then

        G_i(S_i) = R_i - c_i - phi_i(S_i)
        G_i(s) = phi_i(s + 1) - phi_i(s) + gamma G_i(s + 1)
        A_{i,t} = (G_i(s) - mean_j G_j(s)) / (sigma + delta),   s = s(i, t)

    where G_j(s) = G_j(S_j) beyond the last decision. With gamma = 1, G_i(s) = R_i - c_i - phi_i(s).
    phi_i(s) is a function of the tokens before t, so subtracting it is a baseline and changes no
    expectation; nor does the mean over the other responses, which s and the prompt choose. The
    response's own part of the mean scales all by (1 - 1/G), as in GRPO. Where nothing is decided
    yet (s = 0) the advantage is GRPO's but for sigma.

    With gamma < 1 a decision counts less the more decisions lie between: less variance, and a bias
    where a token matters for later parts. With gamma = 0 a token has only the next decision.

    Args:
        rewards: one reward a response, [B]; a group's responses stand next to each other. One of
            NaN is not known: its response counts for no mean and gets 0.
        decided: phi, s and c. With c, 0 is left at the end of a well-formed reply.
        group_size: responses to one prompt; B is a multiple of it.
        discount: gamma, in [0, 1].
        scale: what sigma is. `group`: the greatest standard deviation over s of G in the group, so
            that a group of equal rewards, whose parts can still differ, stays bounded. `batch`: of
            these rewards (`deviation`). A number: sigma itself, where these rows are a part of a
            batch. `none`: advantages are not divided.

    Returns:
        [B, T].

    Raises:
        ValueError: B is not a multiple of the group size.
    """
    _check_groups(rewards, group_size)
    most = max(map(len, decided.potentials), default=0)
    no_call = decided.no_call or [0.0] * len(decided.potentials)
    to_go = []
    for reward, phi, start in zip(rewards.tolist(), decided.potentials, no_call, strict=True):
        values = [0.0, *phi]
        left = reward - start - values[-1]
        row = [left] * (most + 1)
        for stage in range(len(phi) - 1, -1, -1):
            row[stage] = values[stage + 1] - values[stage] + discount * row[stage + 1]
        to_go.append(row)
    device = rewards.device
    undecided = torch.tensor(to_go, dtype=widest(device), device=device)
    undecided = undecided.view(-1, group_size, most + 1)
    known = ~rewards.isnan()
    if known.all():
        mean, spread = undecided.mean(dim=1, keepdim=True), undecided.std(dim=1, keepdim=True)
    else:
        mean, spread = _of_known(undecided, known.view(-1, group_size, 1))
    centred = undecided - mean
    if scale == "group" and group_size > 1:
        centred = centred / (spread.amax(dim=2, keepdim=True) + delta)
    elif scale == "batch" or not isinstance(scale, str):
        sigma = deviation(rewards) if isinstance(scale, str) else scale
        centred = centred / (sigma + delta) if sigma is not None else centred
    centred = centred.masked_fill(~known.view(-1, group_size, 1), 0.0)
    return centred.view(-1, most + 1).gather(1, decided.num_decided).to(rewards.dtype)


def deviation(rewards: torch.Tensor) -> float | None:
    """The sample standard deviation of the rewards [N] that are known (not NaN); None of fewer than
    two.
    """
    known = rewards[~rewards.isnan()]
    return exact(known).std().item() if len(known) > 1 else None


def _of_known(values: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, sample standard deviation) over the known rows of each group, [P, 1, S]; 0 where there
    are too few.

    Args:
        values: [P, G, S].
        known: bool, [P, G, 1].
    """
    counted = torch.where(known, values, 0.0)
    count = known.sum(dim=1, keepdim=True)
    mean = counted.sum(dim=1, keepdim=True) / count.clamp(min=1)
    squares = torch.where(known, values - mean, 0.0).square().sum(dim=1, keepdim=True)
    return mean, (squares / (count - 1).clamp(min=1)).sqrt()

"""LLDS: a loss for responses that were good and become less likely all the same."""

from __future__ import annotations

import torch

from toolrest.core.precision import sums_by, widen
from toolrest.core.turns import turn_numbers


def lost_likelihood(
    log_probs: torch.Tensor, old: torch.Tensor, mask: torch.Tensor, preserved: torch.Tensor
) -> torch.Tensor:
    """What each token has lost of its log-probability, in actions that have lost on the whole.

    With d_t = ln pi_old(a_t) - ln pi(a_t), and an action a run of preserved tokens (a turn),

        l_t = [sum_{s in the action of t} d_s > 0] max(0, d_t).

    Lazy likelihood displacement stabilisation (arXiv 2512.04220), with the gate by actions that its
    authors found best (LLDS-A), as their code has it (`chunk_noreduce`); there l_t is weighed by
    0.2. The gate has no gradient.

    Args:
        log_probs: of the policy that is trained, nats, with their graph, [B, T].
        old: of the policy that sampled, nats, [B, T].
        mask: the tokens that the loss counts, bool, [B, T].
        preserved: the tokens whose advantage is not negative, bool, [B, T] or [B, 1].

    Returns:
        Nats, >= 0, [B, T]; 0 outside the mask and for what is not preserved.
    """
    counted = mask & preserved
    lost = torch.where(counted, old - log_probs, 0.0)
    actions = turn_numbers(counted)
    most = int(actions.max()) + 1 if actions.numel() else 0
    if most == 0:
        return lost
    sums = sums_by(widen(lost.detach()), actions, most)
    loses = sums.gather(1, actions.clamp(min=0)) > 0
    return torch.where(loses, lost, 0.0).relu()

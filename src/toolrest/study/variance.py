"""The variance of the weighted policy gradient, its bounds, and the weights it asks for.

One trajectory's gradient is g = (A / T) sum_t w_t s_t with s_t = grad ln pi(a_t | prefix). Given
the prefix E[s_t] = 0, so the scores of different tokens are uncorrelated. Where A is independent of
the scores, and T and w_t are fixed by the prefix,

    tr Cov(g) = E[A^2] / T^2 * sum_t w_t^2 E||s_t||^2                                    (1)

For the logits of one softmax E||e_a - p||^2 = 1 - sum_v p_v^2 <= 1 - exp(-H), which gives the bound
of ResT (arXiv 2509.21826): Var <= E[A^2] sum_t beta_t w_t^2 with beta_t = E[||J_t||_F^2
(1 - exp(-H_t))]. A real advantage is not independent of the scores: a rare token that earns much
has a large A and a large score at once, and then (1) and the bound can both fail. What holds for
any A is

    tr Cov(g) <= max A^2 / T^2 * sum_t w_t^2 E||s_t||^2                                  (2)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Moments:
    """What a sample of gradients says, with the standard errors of a jackknife over groups."""

    trace: float
    """Trace of the covariance of one trajectory's gradient."""
    trace_error: float
    """Its standard error."""
    signal: float
    """Squared norm of the expected gradient, unbiased: it can come out negative."""
    signal_error: float
    """Its standard error."""
    ratio: float
    """signal / trace: what one trajectory's gradient carries."""
    ratio_error: float
    """Its standard error."""


def moments(squares: torch.Tensor, inner: torch.Tensor, size: int) -> Moments:
    """Moments of N = P * size gradients from what groups of them add up to.

    tr Cov = (sum_i ||g_i||^2 - ||sum_i g_i||^2 / N) / (N - 1); ||E g||^2 = ||mean||^2 - tr Cov / N.

    Args:
        squares: sum of ||g_i||^2 over each group, [P].
        inner: inner products of the groups' sums of g_i, [P, P].
        size: gradients a group.
    """
    groups = len(squares)

    def estimate(kept: torch.Tensor) -> torch.Tensor:
        count = len(kept) * size
        total = inner[kept][:, kept].sum()
        trace = (squares[kept].sum() - total / count) / (count - 1)
        signal = total / count**2 - trace / count
        return torch.stack((trace, signal, signal / trace.clamp(min=1e-300)))

    everything = torch.arange(groups)
    values = estimate(everything)
    errors = torch.full((3,), float("nan"), dtype=torch.float64)
    if groups > 2:
        left_out = torch.stack([estimate(everything[everything != g]) for g in range(groups)])
        spread = (left_out - left_out.mean(0)).square().sum(0)
        errors = (spread * (groups - 1) / groups).sqrt()
    trace, signal, ratio = values.tolist()
    trace_error, signal_error, ratio_error = errors.tolist()
    return Moments(trace, trace_error, signal, signal_error, ratio, ratio_error)


def trace_covariance(gradients: torch.Tensor) -> float:
    """Trace of the covariance of the rows, unbiased; [N, D] with N >= 2."""
    return float(gradients.double().var(dim=0).sum())


def score_moments(logits: torch.Tensor, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Second moments of one softmax's score, in three ways, and the entropy that bounds them.

    Args:
        logits: at the sampling temperature, [T, V].
        tokens: sampled ids, [T].

    Returns:
        [T] each: `entropy` H in nats; `bound` 1 - exp(-H); `collision` 1 - sum p^2, which is
        E||e_a - p||^2; `sampled` ||e_a - p||^2 = 1 - 2 p_a + sum p^2 of the token that came.
    """
    logp = torch.log_softmax(logits.double(), dim=-1)
    p = logp.exp()
    entropy = -(p * logp.clamp(min=-1e4)).sum(-1)
    squares = p.square().sum(-1)
    taken = p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return {
        "entropy": entropy,
        "bound": -torch.expm1(-entropy),
        "collision": 1 - squares,
        "sampled": 1 - 2 * taken + squares,
    }


def last_layer_square(
    logits: torch.Tensor, tokens: torch.Tensor, hidden: torch.Tensor
) -> torch.Tensor:
    """||d ln p(a) / d W||_F^2 = ||e_a - p||^2 ||h||^2 of logits W h, token by token, [T].

    Args:
        logits: [T, V].
        tokens: [T].
        hidden: h, [T, H].
    """
    return score_moments(logits, tokens)["sampled"] * hidden.double().square().sum(-1)


def least_variance_weights(second_moments: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """w_r proportional to 1 / m_r with a token-weighted mean of 1: the least of sum_t w_t^2 m_t.

    Args:
        second_moments: of a token's score, region by region, [R].
        counts: tokens of each region, [R]; a region without any weighs 0.
    """
    seen = (counts > 0) & (second_moments > 0)
    raw = torch.where(seen, 1 / second_moments.clamp(min=1e-300), 0.0)
    return raw * counts[seen].sum() / (raw * counts).sum()


def bounds(
    advantages: torch.Tensor,
    lengths: torch.Tensor,
    weighted_moments: torch.Tensor,
) -> tuple[float, float]:
    """The right-hand sides of (1) and of (2) from a sample.

    Args:
        advantages: [N].
        lengths: T of each trajectory, [N].
        weighted_moments: sum_t w_t^2 E||s_t||^2 of each trajectory, [N].

    Returns:
        With E[A^2], which holds for advantages that are independent of the scores, and with
        max A^2, which holds always.
    """
    spread = (weighted_moments / lengths.double().square()).mean()
    squares = advantages.double().square()
    return float(squares.mean() * spread), float(squares.max() * spread)

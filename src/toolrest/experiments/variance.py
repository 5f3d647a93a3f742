"""The variance of the weighted policy gradient, its bounds, and least-variance weights.

One trajectory's gradient is g = (A / T) sum_t w_t s_t with s_t = grad ln pi(a_t | prefix). Call the
weights *predictable* where w_t / T is known from the tokens before t. Given the prefix E[s_t] = 0,
so the weighted scores of different tokens are then uncorrelated, whatever the policy:

    E||sum_t w_t s_t / T||^2 = E[sum_t (w_t / T)^2 ||s_t||^2] =: S

With w_t and T fixed, S = sum_t w_t^2 E||s_t||^2 / T^2. From it follow

    (1)  tr Cov(g) = E[A^2] S - ||E g||^2 <= E[A^2] S   predictable, A^2 independent of the tokens
    (2)  tr Cov(g) <= max A^2 S                         predictable, any A
    (3)  tr Cov(g) <= E[(A / T)^2 R sum_r w_r^2 ||sum_{t in r} s_t||^2]   always

with R the number of parts r that a trajectory falls into: tokens, or regions. (3) is Cauchy and
Schwarz on every single trajectory. In (1) E g = 0 where A itself is independent of the tokens;
A = +-1 is enough for the inequality, however A depends on them.

For the logits of one softmax E||e_a - p||^2 = 1 - sum_v p_v^2 <= 1 - exp(-H), and (1) gives the
bound of ResT (arXiv 2509.21826, which has no 1 / T^2): Var <= E[A^2] sum_t beta_t w_t^2 with
beta_t = E[||J_t||_F^2 (1 - exp(-H_t))]. A group-normalised advantage is not independent of the
tokens: a rare token that earns much has a large A and a large score at once, and E[A^2 s_t . s_u]
does not vanish. Then (1) and the paper's bound can fail; tests/experiments/test_variance.py has
counter-examples. Nor are a region's weights quite predictable: where a region ends, the token's
own id decides its region, and the mean that a sequence is divided by knows all of it. Then (2) can
fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Moments:
    """Moments of sampled gradients, with jackknife standard errors over groups."""

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


@dataclass(frozen=True)
class WeightingMoments(Moments):
    """A weighting's moments, overall and by region."""

    over_bound: float
    """`trace` over the bound (1): it holds up to 1."""
    over_bound_error: float
    """Its standard error."""
    bound_regions: float
    """The bound (3), with regions as parts: it always holds."""
    relative_trace: float
    """`trace` over that of equal weights on the same trajectories."""
    relative_trace_error: float
    """Its standard error, which is far less than that of `trace`."""
    relative_ratio: float
    """`ratio` over that of equal weights."""
    relative_ratio_error: float
    """Its standard error."""
    region_trace: dict[str, float]
    """By region: trace of the covariance of its part of one trajectory's gradient. They do not add
    up to `trace`; what is left is the covariance between regions."""
    region_trace_error: dict[str, float]
    """By region: its standard error, from the spread of the second moment between groups."""


def moments(squares: torch.Tensor, inner: torch.Tensor, size: int) -> Moments:
    """Moments of the gradients from sums over groups of them.

    With S_p the sum of group p and P groups of G gradients, both unbiased where groups are
    independent of each other, though a group's own gradients share a prompt and a baseline:

        ||E g||^2 = sum_{p != q} S_p . S_q / (P (P - 1) G^2)
        tr Cov = sum_i ||g_i||^2 / (P G) - ||E g||^2

    Args:
        squares: sum of ||g_i||^2 over each group, [P].
        inner: S_p . S_q, [P, P].
        size: G.

    Raises:
        ValueError: fewer than 2 groups.
    """
    values, left_out = _estimates(squares, inner, size)
    trace, signal, ratio = values.tolist()
    trace_error, signal_error, ratio_error = _jackknife(left_out).tolist()
    return Moments(trace, trace_error, signal, signal_error, ratio, ratio_error)


def relative_moments(
    squares: torch.Tensor,
    inner: torch.Tensor,
    plain_squares: torch.Tensor,
    plain_inner: torch.Tensor,
    size: int,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A weighting's tr Cov and its signal / tr Cov over those of another on the same trajectories.

    Args:
        squares, inner, size: as `moments` takes them.
        plain_squares, plain_inner: those of the other weighting.

    Returns:
        Quotient and standard error of tr Cov; the same of signal / tr Cov.
    """
    values, left_out = _estimates(squares, inner, size)
    plain, plain_left_out = _estimates(plain_squares, plain_inner, size)
    quotients = (values / plain).tolist()
    errors = _jackknife(left_out / plain_left_out).tolist()
    return (quotients[0], errors[0]), (quotients[2], errors[2])


def trace_over_bound(
    squares: torch.Tensor,
    inner: torch.Tensor,
    size: int,
    advantages: torch.Tensor,
    spreads: torch.Tensor,
) -> tuple[float, float]:
    """tr Cov over the right-hand side of (1), and its standard error.

    Args:
        squares, inner, size: as `moments` takes them.
        advantages: of every trajectory, [P * size].
        spreads: sum_t (w_t / T)^2 ||s_t||^2 of every trajectory, [P * size].
    """
    groups = len(squares)
    values, left_out = _estimates(squares, inner, size)

    def mean(each: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sums = each.double().view(groups, size).mean(1)
        return sums.mean(), (sums.sum() - sums) / (groups - 1)

    (power, power_left), (spread, spread_left) = mean(advantages.square()), mean(spreads)
    quotient = values[0] / (power * spread)
    return float(quotient), float(_jackknife(left_out[:1] / (power_left * spread_left))[0])


def _estimates(
    squares: torch.Tensor, inner: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(trace, signal and ratio [3], the same with each group left out [3, P])."""
    groups = len(squares)
    if groups < 2:
        raise ValueError(f"moments need at least 2 groups; got {groups}")

    def estimate(square: torch.Tensor, across: torch.Tensor, left: int) -> torch.Tensor:
        signal = across / (left * (left - 1) * size**2)
        trace = square / (left * size) - signal
        return torch.stack((trace, signal, signal / trace.clamp(min=1e-300)))

    own, total = inner.diagonal(), inner.sum()
    values = estimate(squares.sum(), total - own.sum(), groups)
    if groups == 2:
        return values, torch.full((3, 2), float("nan"), dtype=torch.float64)
    without = total - inner.sum(0) - inner.sum(1) + own - (own.sum() - own)
    return values, estimate(squares.sum() - squares, without, groups - 1)


def _jackknife(left_out: torch.Tensor) -> torch.Tensor:
    """Standard errors of estimates from those without each of the groups, [K, P] -> [K]."""
    groups = left_out.shape[1]
    spread = (left_out - left_out.mean(1, keepdim=True)).square().sum(1)
    return (spread * (groups - 1) / groups).sqrt()


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


def last_layer_gram(
    logits: torch.Tensor, tokens: torch.Tensor, hidden: torch.Tensor
) -> torch.Tensor:
    """<s_t, s_u> = <e_a - p, e_b - q> <h_t, h_u> of logits W h, [T, T].

    The diagonal is ||s_t||^2 = ||e_a - p||^2 ||h||^2, and c^T K c = ||sum_t c_t s_t||^2 without any
    token's [V, H] gradient.

    Args:
        logits: [T, V].
        tokens: [T].
        hidden: h, [T, H].
    """
    error = -torch.softmax(logits.double(), dim=-1)
    error[torch.arange(len(tokens), device=tokens.device), tokens] += 1
    wide = hidden.double()
    return (error @ error.T) * (wide @ wide.T)


def least_variance_weights(second_moments: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """w_r proportional to 1 / m_r with a token-weighted mean of 1: the least of sum_t w_t^2 m_t.

    Args:
        second_moments: of a token's score, region by region, [R].
        counts: tokens of each region, [R]; a region without any weighs 0.
    """
    counts, second_moments = counts.double(), second_moments.double()
    seen = (counts > 0) & (second_moments > 0)
    raw = torch.where(seen, 1 / second_moments.clamp(min=1e-300), 0.0)
    return raw * counts[seen].sum() / (raw * counts).sum().clamp(min=1e-300)


def excess_variance(guess: torch.Tensor, truth: torch.Tensor, counts: torch.Tensor) -> float:
    """sum_t w_t^2 m_t with weights from a guess g at m, over its minimum.

    sum_r n_r m_r / g_r^2 * sum_r n_r / m_r / (sum_r n_r / g_r)^2, at least 1.

    Args:
        guess: g, a guess at the second moment of a token's score by region, [R].
        truth: m, [R].
        counts: n, tokens of each region, [R].
    """
    seen = (counts > 0) & (truth > 0) & (guess > 0)
    guess, truth, counts = guess[seen], truth[seen], counts[seen]
    least = (counts / truth).sum()
    return float((counts * truth / guess**2).sum() * least / (counts / guess).sum() ** 2)


def typical_factor(guess: torch.Tensor, truth: torch.Tensor, counts: torch.Tensor) -> float:
    """The typical factor of error of a guess up to scale: exp(std of ln(g_r / m_r)).

    Args:
        guess, truth, counts: as `excess_variance` takes them; the spread is the standard deviation
            over tokens.
    """
    seen = (counts > 0) & (truth > 0) & (guess > 0)
    off = (guess[seen] / truth[seen]).log()
    share = counts[seen] / counts[seen].sum()
    mean = (share * off).sum()
    return float((share * (off - mean).square()).sum().sqrt().exp())


def bounds(
    advantages: torch.Tensor,
    lengths: torch.Tensor,
    weighted_squares: torch.Tensor,
) -> tuple[float, float]:
    """The right-hand sides of (1) and of (2) from a sample.

    Args:
        advantages: [N].
        lengths: T of each trajectory, [N].
        weighted_squares: sum_t w_t^2 ||s_t||^2 of each trajectory, [N].

    Returns:
        With E[A^2], for advantages whose squares are independent of the tokens, and with max A^2,
        for any; both for predictable weights.
    """
    spread = (weighted_squares / lengths.double().square()).mean()
    squares = advantages.double().square()
    return float(squares.mean() * spread), float(squares.max() * spread)


def part_bound(squares: torch.Tensor, factors: torch.Tensor) -> float:
    """The right-hand side of (3) from a sample: mean of R sum_r f_r^2 ||sum_{t in r} s_t||^2.

    Args:
        squares: ||sum_{t in r} s_t||^2 of each trajectory's parts, [N, R].
        factors: (A / T) w_r, [N, R].
    """
    parts = factors.double().square() * squares.double()
    return float(((parts > 0).sum(1) * parts.sum(1)).mean())

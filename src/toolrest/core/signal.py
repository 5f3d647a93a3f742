"""The weights of regions that make a step improve a target the most."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls

_SOFTENING = 1e-9
"""Of the mean second moment, added to each: keeps regions that always move together solvable."""


def best_region_weights(
    noise: torch.Tensor, signal: torch.Tensor, shrinkage: float = 0.0
) -> torch.Tensor:
    """Region weights w >= 0 of the greatest gain w . c / sqrt(w' Q w) of a normalised step.

    Without the bound w is proportional to Q^-1 c (Wiener's filter; Fisher's discriminant). With
    it, and shrunk towards equal weights,

        w = argmin_{w >= 0} 1/2 w' (Q + s D) w - w . (c + s k D 1),  D = diag Q, k = 1 . c / 1' Q 1

    where k 1 is the best step of equal weights; s = 0 shrinks nothing, a great s gives equal
    weights. Scaled to w' Q w = 1' Q 1, so that equal weights are 1 each.

    Args:
        noise: Q_{rs} = E <g_r, g_s> of the regions' gradients of a batch, signal included, [R, R],
            symmetric and positive semi-definite.
        signal: c_r = <E g_r, E u>, u the gradient of the target, [R].
        shrinkage: s >= 0.

    Returns:
        Float64, [R]. A region of Q_rr = 0, which has no gradient, weighs 1; so do all regions
        where no weights >= 0 have a gain above 0.

    Raises:
        ValueError: shapes that do not fit, a number that is not finite, or a negative s.
    """
    regions = signal.numel()
    if signal.dim() != 1 or noise.shape != (regions, regions):
        raise ValueError(
            f"need noise [R, R] and signal [R]; got {tuple(noise.shape)} and {tuple(signal.shape)}"
        )
    second, first = noise.detach().double().cpu(), signal.detach().double().cpu()
    if not (second.isfinite().all() and first.isfinite().all() and shrinkage >= 0):
        raise ValueError("need finite noise and signal, and shrinkage >= 0")
    weights = torch.ones(regions, dtype=torch.float64)
    present = second.diagonal() > 0
    q, c = second[present][:, present], first[present]
    norm = q.sum()
    if not present.any() or norm <= 0:
        return weights
    prior = shrinkage * q.diagonal()
    softened = q + torch.diag(prior + _SOFTENING * q.diagonal().mean())
    wanted = c + prior * (c.sum() / norm)
    # 1/2 w' L L' w - w . b = 1/2 |L' w - L^-1 b|^2 + constant
    lower = torch.linalg.cholesky(softened)
    right = torch.linalg.solve_triangular(lower, wanted[:, None], upper=False)[:, 0]
    found = torch.from_numpy(np.asarray(nnls(lower.T.numpy(), right.numpy())[0]))
    square = found @ q @ found
    if not square > 0:
        return weights
    weights[present] = found * (norm / square).sqrt()
    return weights

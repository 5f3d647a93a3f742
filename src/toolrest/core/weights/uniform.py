"""Every token weighs 1: GRPO."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from toolrest.core.weights.base import Scheme, TokenBatch


@dataclass(frozen=True)
class Uniform(Scheme):
    """w_t = 1. Group relative policy optimisation as it is (arXiv 2402.03300)."""

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        """See `Scheme.weights`. Normalised it is exactly 1, so that training is bitwise GRPO's."""
        return torch.ones_like(batch.mask, dtype=torch.float32)

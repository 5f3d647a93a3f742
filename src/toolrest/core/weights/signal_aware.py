"""Region weights by the signal that a region's gradient carries, and not by its noise alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from toolrest.core.precision import widest
from toolrest.core.weights.base import Scheme, TokenBatch
from toolrest.core.weights.region_signal import RegionSignal


@dataclass(frozen=True)
class SignalAware(Scheme):
    """Wiener's weights: w ~ Q^-1 c, shrunk to 1, clipped, then normalised within each sequence.

    Ours. Of constant region weights w >= 0 on the regions' gradients g_r, those of the greatest
    expected gain w . c / sqrt(w' Q w) of a step of fixed length, with the noise
    Q_{rs} = E <g_r, g_s> and the signal c_r = <E g_r, E u>, u the gradient of the reward. The
    engine measures both on earlier batches, so the weights do not depend on the batch that they
    weigh. With B batches measured, s = `shrinkage` and n = B - 1, they are `best_region_weights`
    with the shrinkage s / n, clipped to [w_min, w_max]; these count n / (n + s), and 1 the rest.
    All regions weigh 1 while fewer than two batches are measured, and where a step of equal
    weights shows no gain: there the measurement tells nothing.
    """

    shrinkage: float = 8.0
    """Towards equal weights: after so many batches and one more, half of the way is left."""
    decay: float = 0.95
    """Weight of the past in the moving averages, in [0, 1); 0.95 is worth 39 batches at most."""
    rows: int = 32
    """Responses of a generation that are measured, at most those of an optimiser step."""
    w_min: float = 0.5
    """Least weight of a region before normalisation, at most 1."""
    w_max: float = 2.0
    """Greatest weight of a region before normalisation, at least 1."""
    reads_signal: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.shrinkage < float("inf"):
            raise ValueError(f"need shrinkage >= 0; got {self.shrinkage}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"need decay in [0, 1); got {self.decay}")
        if self.rows < 1 or self.rows != int(self.rows):
            raise ValueError(f"need a whole number rows >= 1; got {self.rows}")
        if not 0 <= self.w_min <= 1 <= self.w_max < float("inf"):
            raise ValueError(f"need 0 <= w_min <= 1 <= w_max; got {self.w_min} and {self.w_max}")

    def weights(self, batch: TokenBatch) -> torch.Tensor:
        table, device = self.region_weights(batch.measured_signal), batch.regions.device
        return table.to(widest(device)).to(device)[batch.regions]

    def region_weights(self, known: RegionSignal) -> torch.Tensor:
        """Each region's weight before normalisation, float64, [number of regions]."""
        # Loads scipy, which no other scheme needs
        from toolrest.core.signal import best_region_weights

        if known.batches <= 1 or known.signal.sum() <= 0:
            return torch.ones_like(known.signal)
        more = known.batches - 1
        found = best_region_weights(known.noise, known.signal, self.shrinkage / more)
        trust = more / (more + self.shrinkage)
        return 1 + trust * (found.clamp(self.w_min, self.w_max) - 1)

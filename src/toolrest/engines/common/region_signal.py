"""Noise and signal of the regions' gradients, followed from batch to batch by their sketches."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from toolrest.core.regions import Region
from toolrest.core.weights import RegionSignal

_REGIONS = len(Region)


class SignalTracker:
    """Moving averages of second moments of the regions' gradients g_r and of the target's, u.

    With x_b the sketches of batch b, the newest first, and decay d:

        Q_{rs} = sum_b d^b <g_{b,r}, g_{b,s}> / sum_b d^b
        c_r    = sum_{b != b'} d^{b + b'} <g_{b,r}, u_{b'}> / sum_{b != b'} d^{b + b'}

    The signal has products of different batches alone, whose noises are independent, so that it is
    unbiased while the policy stays as it is. All pairs of batches count, and not only consecutive
    ones: sketches are linear, so the sums of pairs are products of one sum a region.

    Args:
        decay: d, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._sums: torch.Tensor | None = None
        """sum_b d^b x_b of the regions and the target, float32, [number of regions + 1, K]."""
        self._noise = torch.zeros(_REGIONS, _REGIONS, dtype=torch.float64)
        self._own = torch.zeros(_REGIONS, dtype=torch.float64)
        """sum_b d^2b <g_{b,r}, u_b>."""
        self._first = self._second = 0.0
        """sum_b d^b and sum_b d^2b."""

    def known(self) -> RegionSignal:
        """What the batches so far tell."""
        if self._sums is None:
            return RegionSignal.nothing()
        sums, pairs = self._sums.double(), self._first**2 - self._second
        across = sums[:_REGIONS] @ sums[_REGIONS] - self._own
        signal = across / pairs if pairs > 0 else torch.zeros_like(across)
        return RegionSignal(self._noise / self._first, signal, self._first**2 / self._second)

    def add(self, sketches: torch.Tensor) -> None:
        """Take a batch.

        Args:
            sketches: of the gradients of the regions, and last of the target's, over all processes,
                [number of regions + 1, K].
        """
        sketches = sketches.detach().float().cpu()
        wide, decay = sketches.double(), self._decay
        own = wide[:_REGIONS] @ wide[_REGIONS]
        self._sums = sketches if self._sums is None else decay * self._sums + sketches
        self._noise = decay * self._noise + wide[:_REGIONS] @ wide[:_REGIONS].T
        self._own = decay**2 * self._own + own
        self._first = decay * self._first + 1
        self._second = decay**2 * self._second + 1

    def to_dict(self) -> dict[str, Any] | None:
        """For a JSON file beside a checkpoint; None: nothing was measured."""
        if self._sums is None:
            return None
        packed = self._sums.numpy().astype("<f4").tobytes()
        return {
            "sums": base64.b64encode(packed).decode("ascii"),
            "noise": self._noise.tolist(),
            "own": self._own.tolist(),
            "first": self._first,
            "second": self._second,
        }

    def from_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from `to_dict`, bit for bit.

        Raises:
            ValueError: sums of another size.
        """
        if state is None:
            self.__init__(self._decay)
            return
        sums = np.frombuffer(base64.b64decode(state["sums"], validate=True), dtype="<f4")
        self._sums = torch.from_numpy(sums.astype(np.float32)).view(_REGIONS + 1, -1)
        self._noise = torch.tensor(state["noise"], dtype=torch.float64).view(_REGIONS, _REGIONS)
        self._own = torch.tensor(state["own"], dtype=torch.float64).view(_REGIONS)
        self._first, self._second = float(state["first"]), float(state["second"])

"""Incidents: numbers that are NaN or infinite, and the tensors that led to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from toolrest.core.precision import exact

_MOST_PLACES = 20


@dataclass(frozen=True)
class Incident:
    """A step at which a reward, a weight, a loss or a gradient was not finite."""

    step: int
    """Optimiser steps done before."""
    what: str
    """reward, weight, or loss or gradient."""
    facts: dict[str, Any]
    """What led to it, as plain values."""


class NonFiniteError(Exception):
    """A number was not finite, and the rule is to stop."""

    def __init__(self, incident: Incident) -> None:
        super().__init__(f"a {incident.what} of step {incident.step + 1} is not finite")
        self.incident = incident


def describe_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Shape, minimum, maximum and mean of each tensor's finite values, and the places of the first
    of the others.
    """
    found = {}
    for name, tensor in tensors.items():
        values = exact(tensor.detach())
        is_finite = torch.isfinite(values)
        finite = values[is_finite]
        found[name] = {
            "shape": list(tensor.shape),
            "least": finite.min().item() if finite.numel() else None,
            "greatest": finite.max().item() if finite.numel() else None,
            "mean": finite.mean().item() if finite.numel() else None,
            "not_finite": (~is_finite).nonzero()[:_MOST_PLACES].tolist(),
        }
    return found

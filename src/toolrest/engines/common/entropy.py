"""The entropies by which an engine weighs one generation after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import torch

from toolrest.core.weights import RegionEntropy


class EntropySource(StrEnum):
    """Where a scheme's region entropies come from: rollouts, under the policy that sampled them."""

    ONLINE = "online"
    """A moving average over the steps' rollouts, the current ones included."""
    STATIC = "static"
    """The first step's rollouts."""
    EXACT = "exact"
    """The current rollouts alone."""


class EntropyTracker:
    """Region entropies from step to step; batches of one step add up.

    ResT (arXiv 2509.21826), section 3: a region starts from its average entropy over the rollout
    batch under the old policy. So the rollouts that are weighed count, not only earlier ones.

    Args:
        source: see `EntropySource`.
        decay: weight of the past in the moving average, in [0, 1).
    """

    def __init__(
        self, source: str = "online", decay: float = 0.9, device: torch.device | str = "cpu"
    ) -> None:
        self._source = EntropySource(source)
        self._decay = decay
        self._device = device
        self._step = 0
        self._before: RegionEntropy | None = None
        self._window = RegionEntropy.zero(device)

    def known(self, step: int) -> RegionEntropy | None:
        """The entropies of a step whose rollouts need not be measured; None: they have to be."""
        settled = self._source is EntropySource.STATIC and step != self._step
        return self._now() if settled else None

    def add(self, step: int, measured: RegionEntropy) -> RegionEntropy:
        """The entropies to weigh a batch by.

        Args:
            step: from 1; the batches of one step have the same.
            measured: the batch's own, over all processes.
        """
        if self._source is EntropySource.EXACT:
            return measured
        if step != self._step:
            self._before = self._now()
            self._window = RegionEntropy.zero(self._device)
            self._step = step
        self._window += measured
        now = self._now()
        assert now is not None
        return now

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file beside a checkpoint."""
        now = self._now()
        return {"step": self._step, "followed": None if now is None else now.to_lists()}

    def from_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `to_dict`. Older checkpoints of the TRL engine name no step."""
        self._step = state.get("step", 0)
        followed = state["followed"]
        self._before = (
            None if followed is None else RegionEntropy.from_lists(followed, self._device)
        )
        self._window = RegionEntropy.zero(self._device)

    def _now(self) -> RegionEntropy | None:
        """The average with what was measured in this step."""
        if self._before is None:
            return self._window if self._step else None
        if self._source is EntropySource.STATIC or not self._window.count.any():
            return self._before
        return self._before.ema_update(self._window, self._decay)


class StartEntropy:
    """The mean entropy of the tokens of a run's first step; batches of that step add up."""

    def __init__(self) -> None:
        self._step = 0
        self._first: RegionEntropy | None = None

    def before(self, step: int) -> float | None:
        """The mean for a later step, nats; None in the first step."""
        if self._first is None or step == self._step:
            return None
        return math.fsum(self._first.total.tolist()) / math.fsum(self._first.count.tolist())

    def add(self, step: int, measured: RegionEntropy) -> None:
        """Take a batch of the first step.

        Args:
            step: from 1.
            measured: Shannon entropies of the batch, over all processes; without a token it is no
                start.
        """
        if self._first is None and measured.count.any():
            self._step, self._first = step, measured
        elif self._first is not None and step == self._step:
            self._first += measured

    def to_dict(self) -> dict[str, Any] | None:
        """For a JSON file beside a checkpoint; None: nothing was measured."""
        return None if self._first is None else {"step": self._step, **self._first.to_lists()}

    def from_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go on from `to_dict`; after None, as older checkpoints have it, the next step is the
        first.
        """
        self._step = 0 if state is None else state["step"]
        self._first = None if state is None else RegionEntropy.from_lists(dict(state))

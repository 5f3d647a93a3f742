"""The weights of a generation for verl, and the check that they reached the loss.

Knows tensors alone, no verl, so that it can be read and tested without it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from toolrest.core import credit as advantage_rules
from toolrest.core.dialects import Dialect
from toolrest.core.precision import exact
from toolrest.core.regions import label_tokens
from toolrest.core.turns import normalise_turns
from toolrest.core.vocabulary import Vocabulary
from toolrest.core.weights import RegionEntropy, Scheme, Statistic, TokenBatch, TokenStatistics
from toolrest.engines.common.batch import entropy_metrics, signal_metrics
from toolrest.engines.common.entropy import EntropyTracker, StartEntropy

SIGNAL = "actor/toolrest_signal"
"""Metric of the loss: sum of the squared advantages of a response, averaged over responses.
Squared, since weights of mean 1 leave the plain sum as it is."""
SPREAD = "actor/toolrest_spread"
"""Metric of the loss: share of responses whose tokens have different advantages."""
_TOLERANCE = 1e-3
"""Relative difference of the signal sent and received that sums in float32 leave room for."""


class WeightsNotApplied(RuntimeError):
    """The policy would be updated, or was, with other advantages than the weighted ones."""


@dataclass(frozen=True)
class Rollouts:
    """Responses as verl's queue holds them, padded on the right."""

    step: int
    """verl's global step, from 1; batches of one step have one state of the moving average."""
    progress: float
    """Share of the run that is done, in [0, 1]."""
    ids: torch.Tensor
    """Sampled ids and what tools said, int64, [B, T]."""
    mask: torch.Tensor
    """Tokens that the policy sampled and the loss counts, bool, [B, T]."""
    entropies: torch.Tensor
    """Entropy of the recomputed old policy at each token, nats, [B, T]."""
    log_probs: torch.Tensor
    """ln p of each token under the old policy, [B, T]."""
    advantages: torch.Tensor
    """One value over a response's tokens, [B, T]."""
    groups: Sequence[str | None]
    """The prompt of each response; None for a synthetic padding row. Length B."""
    openings: Sequence[str] | None = None
    """What each prompt has written of the reply already; None: nothing."""
    credited: torch.Tensor | None = None
    """What each token is credited with, which is then weighed, [B, T]; None: `advantages`."""


@dataclass(frozen=True)
class Weighed:
    """What `GenerationWeights.weigh` found."""

    weights: torch.Tensor
    """Token weights, float32, [B, T]; 0 outside the mask and in padding rows."""
    advantages: torch.Tensor
    """w_t * A_i, or w_t * A_{i,t} where tokens are credited by themselves, [B, T]."""
    metrics: dict[str, float]
    """Per region: share/, weight/, signal/ and entropy/."""


class GenerationWeights:
    """The weights of one generation after the other.

    Region entropies are those of the recomputed old policy over the rollouts, which verl measures
    anyway; `toolrest.engines.common.entropy` says which of them count.

    Args:
        group_size: responses to one prompt, for schemes that read tokens.
        normalise: `turn` or `trajectory`: over what the weights of a response of several turns have
            mean 1.
    """

    def __init__(  # noqa: PLR0913 -- the settings of a recipe's weights
        self,
        scheme: Scheme,
        dialect: Dialect,
        vocabulary: Vocabulary,
        *,
        entropy_source: str = "online",
        entropy_decay: float = 0.9,
        group_size: int = 1,
        normalise: str = "trajectory",
    ) -> None:
        self.scheme = scheme
        self.dialect = dialect
        self.vocabulary = vocabulary
        self.entropy = EntropyTracker(entropy_source, entropy_decay)
        self.start = StartEntropy()
        self._group_size = group_size
        self._by_turn = normalise == "turn"

    def weigh(self, rollouts: Rollouts) -> Weighed:
        """Weigh a batch of rollouts.

        Raises:
            WeightsNotApplied: the scheme compares the responses of a group, and one is not whole.
        """
        mask = rollouts.mask
        regions = label_tokens(
            rollouts.ids,
            mask,
            self.vocabulary,
            self.dialect,
            openings=rollouts.openings,
            scaffolding=self.scheme.scaffolding,
        )
        measured = RegionEntropy.measure(rollouts.entropies, regions, mask)
        followed = self.entropy.add(rollouts.step, measured)
        rows = self._rows(rollouts)
        tokens = self._statistics(rollouts, rows) if self.scheme.reads_tokens else None
        start = self.start.before(rollouts.step)
        self.start.add(rollouts.step, measured)
        weights = torch.zeros(mask.shape, dtype=torch.float32)
        entropy = None if self.scheme.statistic is None else followed
        weights[rows] = self.scheme(
            TokenBatch(regions[rows], mask[rows], rollouts.progress, entropy, tokens, start)
        )
        if self._by_turn:
            weights = normalise_turns(weights, mask)
        credited = rollouts.advantages if rollouts.credited is None else rollouts.credited
        weighted = advantage_rules.apply(weights, credited)
        return Weighed(weights, weighted, _metrics(regions, mask, weights, weighted, measured))

    def to_dict(self) -> dict[str, Any]:
        """What goes on in the next generation, for a JSON file beside a checkpoint."""
        return {**self.entropy.to_dict(), "start": self.start.to_dict()}

    def from_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `to_dict`."""
        self.entropy.from_dict(state)
        self.start.from_dict(state.get("start"))

    def _rows(self, rollouts: Rollouts) -> list[int]:
        """Real rows, those of a group next to each other."""
        groups = rollouts.groups
        first: dict[str, int] = {}
        for group in groups:
            if group is not None:
                first.setdefault(group, len(first))
        real = [row for row, group in enumerate(groups) if group is not None]
        rows = sorted(real, key=lambda row: first[str(groups[row])])
        sizes = Counter(group for group in groups if group is not None)
        odd = {group: size for group, size in sizes.items() if size != self._group_size}
        if self.scheme.reads_tokens and odd:
            group, size = next(iter(odd.items()))
            raise WeightsNotApplied(
                f"the weighting scheme compares the {self._group_size} responses of a group, but "
                f"prompt {group} has {size}; use a scheme that reads regions alone, such as rest"
            )
        return rows

    def _statistics(self, rollouts: Rollouts, rows: list[int]) -> TokenStatistics:
        at = rollouts.mask.int().argmax(dim=1)
        one_each = rollouts.advantages.gather(1, at.unsqueeze(1)).squeeze(1)
        return TokenStatistics(
            ids=rollouts.ids[rows],
            entropy=rollouts.entropies[rows],
            surprisal=-rollouts.log_probs[rows],
            advantages=one_each[rows],
            group_size=self._group_size,
        )


def _metrics(
    regions: torch.Tensor,
    mask: torch.Tensor,
    weights: torch.Tensor,
    weighted: torch.Tensor,
    measured: RegionEntropy,
) -> dict[str, float]:
    parts = [RegionEntropy.measure(values, regions, mask) for values in (weights, weighted.abs())]
    found = signal_metrics(
        parts[0].count.tolist(), parts[0].total.tolist(), parts[1].total.tolist()
    )
    return found | entropy_metrics(measured, Statistic.ENTROPY)


def received(advantages: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    """The metrics SIGNAL and SPREAD of the advantages that a loss is given.

    Args:
        advantages: [B, T].
        mask: the tokens that the loss counts, bool or 0/1, [B, T].
    """
    counted = mask.bool()
    squares = torch.where(counted, exact(advantages.detach()).square(), 0.0)
    least = torch.where(counted, squares, math.inf).amin(dim=1)
    spread = (squares.amax(dim=1) > least) & counted.any(dim=1)
    return {
        SIGNAL: squares.sum(dim=1).mean().item(),
        SPREAD: spread.double().mean().item(),
    }


def check_received(
    sent: Mapping[str, float], metrics: Mapping[str, Any], *, comparable: bool
) -> None:
    """Compare what the workers' loss saw with what was sent.

    Args:
        sent: `received` of the whole batch.
        metrics: those of the actor's update.
        comparable: whether every micro-batch has equally many responses, so that the mean of their
            means is the batch's.

    Raises:
        WeightsNotApplied: the loss is not ours, or saw other advantages.
    """
    missing = [name for name in (SIGNAL, SPREAD) if name not in metrics]
    if missing:
        raise WeightsNotApplied(
            f"the actor's update has no metric {missing[0]}: its workers did not use toolrest's "
            "loss, so nobody knows which advantages they saw"
        )
    signal, spread = float(metrics[SIGNAL]), float(metrics[SPREAD])
    if sent[SPREAD] > 0 and spread == 0:
        raise WeightsNotApplied(
            "the workers' loss saw one advantage over all tokens of every response: plain GRPO, "
            "not the weighted advantages"
        )
    close = math.isclose(signal, sent[SIGNAL], rel_tol=_TOLERANCE, abs_tol=1e-6)
    if (comparable and not close) or (sent[SIGNAL] > 0) != (signal > 0):
        raise WeightsNotApplied(
            f"the workers' loss saw advantages whose squares sum to {signal:.6g} a response, but "
            f"those of the weighted ones to {sent[SIGNAL]:.6g}"
        )

"""Whether the ranking of methods by gain is that of a comparison's trained policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from toolrest.errors import InputError
from toolrest.experiments.gain_report import STEPS, Gains
from toolrest.experiments.plan import CompareFolder, load_plan
from toolrest.experiments.results import load_results
from toolrest.experiments.statistics import Estimate

LEAST = 3
"""Methods that a ranking needs."""
_TRAINED = {"reward": "reward", "exact": "exact_match"}
"""Which held-out figure tells whether a target was reached."""

Finals = dict[str, np.ndarray]
"""By method: the last held-out values of the seeds that all methods have, [S]."""


@dataclass(frozen=True)
class Ranks:
    """How far two rankings agree."""

    target: str
    """`reward` or `exact`."""
    step: str
    """Whose steps the gains are of."""
    methods: tuple[str, ...]
    """Those that both have."""
    seeds: int
    """Of each method's training."""
    correlation: Estimate
    """Spearman's; the interval by resampling the gain's prompts and the training's seeds; NaN where
    all methods are alike."""


def training_results(folder: Path, methods: Sequence[str]) -> tuple[dict[str, Finals], list[str]]:
    """({target: final values by method}, lines on methods that one side lacks).

    Raises:
        InputError: no comparison is there, or fewer than LEAST methods are in both, with seeds of
            which all are finished.
    """
    compared = CompareFolder(folder)
    results = {each.name: each for each in load_results(compared, load_plan(compared))}
    shared = [name for name in methods if name in results]
    lines = [
        f"{folder}: no finished run of {name}, which takes no part in the ranking"
        for name in methods
        if name not in results
    ]
    lines += [
        f"--methods: {name} of {folder} is not named, and takes no part in the ranking"
        for name in results
        if name not in methods
    ]
    seeds = set.intersection(*(set(results[name].seeds) for name in shared)) if shared else set()
    if len(shared) < LEAST or not seeds:
        raise InputError(
            f"--against {folder}: a ranking needs {LEAST} methods of --methods with a seed that "
            f"all have finished, and {len(shared)} are there ({', '.join(shared) or 'none'}); name "
            f"more of {', '.join(results)}"
        )
    finals = {
        target: {
            name: results[name].curves[curve][1][
                [results[name].seeds.index(seed) for seed in sorted(seeds)], -1
            ]
            for name in shared
        }
        for target, curve in _TRAINED.items()
    }
    return finals, lines


def rank_against(measured: Gains, training: Mapping[str, Finals]) -> list[Ranks]:
    """The agreement of each target and kind of step with training.

    Args:
        measured: the gains at one policy.
        training: see `training_results`.
    """
    found = []
    for target in measured.values["targets"]:
        finals = training[target]
        trained = np.stack(list(finals.values()))
        for step in STEPS:
            gains = np.stack([measured.samples[target, step, name].numpy() for name in finals])
            correlation = rank_correlation(gains, trained)
            found.append(Ranks(target, step, tuple(finals), trained.shape[1], correlation))
    return found


def rank_correlation(gains: np.ndarray, trained: np.ndarray) -> Estimate:
    """Spearman's correlation of gains with the means over seeds, and its percentile interval.

    Args:
        gains: of each resample of prompts, the first of the sample itself, [M, B].
        trained: final values of M methods by seed, [M, S]; seeds are resampled for all methods
            together. With one seed only the prompts vary.
    """
    count, seeds = gains.shape[1], trained.shape[1]
    drawn = np.random.default_rng(0).integers(seeds, size=(count, seeds))
    drawn[0] = np.arange(seeds)
    means = trained[:, drawn].mean(2)
    left, right = (rankdata(each, axis=0) for each in (gains, means))
    left, right = left - left.mean(0), right - right.mean(0)
    with np.errstate(invalid="ignore"):
        values = (left * right).sum(0) / np.sqrt((left**2).sum(0) * (right**2).sum(0))
    if np.isnan(values[1:]).all():
        return Estimate(float(values[0]), None, None)
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return Estimate(float(values[0]), float(low), float(high))

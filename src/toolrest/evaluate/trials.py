"""Figures of episodes that were played several times each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb
from typing import Any

from toolrest.evaluate.intervals import bootstrap_mean
from toolrest.evaluate.results import mean_interval
from toolrest.rollout.turns import Trajectory
from toolrest.runs.headline import is_done


def pass_power(done: int, trials: int, k: int) -> float:
    """The unbiased estimate of pass^k of a task: that it is done in all of k trials
    (arXiv 2406.12045).

    Args:
        done: trials in which it was done.
        trials: all of them, at least k.

    Raises:
        ValueError: there are fewer than k.
    """
    if trials < k:
        raise ValueError(f"{trials} trials are fewer than k={k}")
    return comb(done, k) / comb(trials, k)


def pass_powers(tasks: Sequence[Sequence[Trajectory]]) -> dict[str, dict[str, float]]:
    """pass^k for every k up to the number of trials, with 95 % intervals over tasks.

    Args:
        tasks: the trials of each task. Those in which the environment failed are left out, and for
            a k that is more than are left so is the task.
    """
    counts = [(sum(map(done, own)), len(own)) for own in map(scored, tasks)]
    found = {}
    for k in range(1, max((len(own) for own in tasks), default=0) + 1):
        values = [pass_power(right, trials, k) for right, trials in counts if trials >= k]
        if values:
            found[str(k)] = mean_interval(values) | {"tasks": len(values)}
    return found


def task_figures(tasks: Sequence[Sequence[Trajectory]]) -> dict[str, Any]:
    """Tasks done, rewards, turns, calls and errors with 95 % intervals over tasks, and endings.

    A task of several trials has the mean of them, so that intervals know that they are of one.

    Args:
        tasks: the trials of each task, at least one of them scored.
    """
    known = [own for own in map(scored, tasks) if own]
    share = mean_interval([_mean([float(done(each)) for each in own]) for own in known])
    rewards = [_mean([each.reward or 0.0 for each in own]) for own in known]
    counts = {
        "turns": [_mean([len(each.turns) for each in own]) for own in known],
        "calls": [_mean([sum(len(t.calls) for t in each.turns) for each in own]) for own in known],
        "errors": [_mean([sum(t.errors for t in each.turns) for each in own]) for own in known],
    }
    return {
        "n": len(known),
        "episodes": sum(map(len, known)),
        "correct": sum(done(each) for own in known for each in own),
        "accuracy": share["value"],
        "low": share["low"],
        "high": share["high"],
        "scores": {"reward": mean_interval(rewards)}
        | {name: _counted(values) for name, values in counts.items()},
        "endings": dict(Counter(str(each.ending) for own in tasks for each in own).most_common()),
        "whole": True,
    }


def scored(trials: Sequence[Trajectory]) -> list[Trajectory]:
    """The trials in which the environment did not fail."""
    return [each for each in trials if each.failure is None]


def done(trajectory: Trajectory) -> bool:
    """Whether the task was done."""
    return is_done(trajectory.success, trajectory.reward)


def _counted(values: Sequence[float]) -> dict[str, float]:
    low, high = bootstrap_mean(values)
    return {"value": _mean(values), "low": low, "high": high}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

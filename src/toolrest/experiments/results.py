"""Results of the finished cells of a comparison: curves, and one table row a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolrest.errors import InputError
from toolrest.experiments.methods import apply_method
from toolrest.experiments.plan import CompareFolder, Plan
from toolrest.experiments.statistics import (
    SHARE,
    SHARES_APART,
    Estimate,
    SeedRatio,
    StepRatio,
    area,
    holm,
    mean_interval,
    seed_ratio,
    sign_flip_test,
    step_ratio,
)
from toolrest.io.files import iterate_lines, read_json
from toolrest.io.foreign import is_number, parse_object, require_numbers
from toolrest.runs.folder import RunFolder

Series = dict[str, tuple[list[float], np.ndarray]]
"""By name: steps [E], and values [S, E], a row a seed."""
_TOLD = ("step", "exact_match", "greedy_exact_match", "reward")
"""Numbers of a held-out evaluation that the table has."""


@dataclass(frozen=True)
class MethodResult:
    """The results of a method's finished seeds."""

    name: str
    """The method."""
    seeds: tuple[int, ...]
    """Its finished seeds."""
    curves: Series
    """Held-out curves: exact_match, reward, greedy_exact_match, greedy_reward."""
    metrics: Series
    """Training metrics by their names in metrics.jsonl."""
    seconds: list[float]
    """Of each seed's run, evaluations included."""


@dataclass(frozen=True)
class Row:
    """A method's row of the table."""

    method: str
    seeds: int
    exact_match: Estimate
    """Held-out exact match after training, sampled."""
    greedy_exact_match: Estimate
    """The same under greedy decoding."""
    reward: Estimate
    """Held-out reward after training, sampled."""
    area: Estimate
    """Mean height of the held-out curve of sampled exact match."""
    difference: Estimate | None
    """Of exact_match to the baseline's, over the seeds of both; None for the baseline."""
    p: float | None
    """Of the difference, by flipping signs."""
    p_holm: float | None
    """The same, corrected for the number of methods."""
    area_difference: Estimate | None
    """Of area to the baseline's."""
    area_p: float | None
    """Of that difference."""
    steps: StepRatio | None
    """Steps to the baseline's final exact match, over the baseline's; None without curves."""
    seed_steps: SeedRatio | None
    """The same seed by seed, and how many do not get there."""
    tokens: float | None
    """Sampled and prompt tokens to there, over the baseline's."""
    seconds: float
    """Mean time of a run."""


def load_results(folder: CompareFolder, plan: Plan) -> list[MethodResult]:
    """The finished cells, method by method.

    Raises:
        InputError: no cell of the baseline is finished, or a finished one is not what the plan
            asks for: it cannot be read, has no evaluation, or another number of steps.
    """
    found = []
    for method in plan.methods:
        steps = apply_method(plan.recipe, method).max_steps
        seeds = [s for s in plan.seeds if folder.run(method.name, s).summary.is_file()]
        runs = [folder.run(method.name, seed) for seed in seeds]
        if runs:
            found.append(_load(method.name, seeds, runs, steps))
    if plan.baseline not in [result.name for result in found]:
        raise InputError(f"{folder.path}: no run of the baseline {plan.baseline} is finished")
    return found


def _load(name: str, seeds: Sequence[int], runs: Sequence[RunFolder], steps: int) -> MethodResult:
    read = [_read(run, steps) for run in runs]
    return MethodResult(
        name,
        tuple(seeds),
        _series([curve for _, curve, _ in read]),
        _series([metrics for _, _, metrics in read]),
        [summary["seconds"] for summary, _, _ in read],
    )


def _read(
    run: RunFolder, steps: int
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """A finished run's summary, held-out curve and training metrics.

    Seeds are aligned by step, so a run that ended at another step would shorten all others.
    """
    again = f"remove {run.path} and start the comparison again"
    try:
        summary = read_json(run.summary)
        if not isinstance(summary, dict):
            raise ValueError(f"{run.summary.name} is a {type(summary).__name__}, not an object")
        require_numbers(summary, "steps", "seconds")
        metrics = _lines(run.metrics, "step")
        curve = _curve(run, summary)
        done = summary["steps"]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{run.path}: a finished run that cannot be read ({error}); {again}"
        ) from error
    if not curve:
        raise InputError(
            f"{run.path}: nothing was evaluated; a comparison needs held-out samples "
            "(evaluation.samples, and data.heldout_fraction for a file)"
        )
    if not done == curve[-1]["step"] == steps:
        raise InputError(
            f"{run.path}: it has {done} steps and was evaluated last at {curve[-1]['step']}, the "
            f"plan has {steps}; {again}"
        )
    return summary, curve, metrics


def _lines(path: Path, *numbers: str) -> list[dict[str, Any]]:
    """The objects of a file; each must have numbers under these names."""
    found = []
    for number, line in enumerate(iterate_lines(path, "strict"), start=1):
        try:
            found.append(parse_object(line))
            require_numbers(found[-1], *numbers)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
    return found


def _curve(run: RunFolder, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The evaluations during training; without them, those before and after."""
    if run.curve.is_file():
        points = _lines(run.curve, *_TOLD)
        return sorted(points, key=lambda point: point["step"])
    ends = ((0, summary.get("before")), (summary["steps"], summary.get("after")))
    points = []
    for step, result in ends:
        if result is not None and not isinstance(result, dict):
            raise ValueError(f"an evaluation of {run.summary.name} is no object")
        if result is not None:
            points.append({"step": step, **result})
            require_numbers(points[-1], *_TOLD)
    return points


def _series(records: Sequence[Sequence[dict[str, Any]]]) -> Series:
    """One array a name: the steps that every seed has; NaN where a seed lacks the name."""
    steps = sorted(set.intersection(*({r["step"] for r in rows} for rows in records)))
    tables = [{row["step"]: row for row in rows} for rows in records]
    names = {name for rows in records for row in rows for name, v in row.items() if is_number(v)}
    return {
        name: (
            [float(step) for step in steps],
            np.array([[_number(table[s].get(name)) for s in steps] for table in tables], float),
        )
        for name in sorted(names - {"step"})
    }


def _number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def compare_methods(results: Sequence[MethodResult], baseline: str) -> list[Row]:
    """The table: every method against the baseline, over the seeds that both have."""
    base = next(result for result in results if result.name == baseline)
    rows = [_row(result, base) for result in results]
    tested = [row for row in rows if row.p is not None]
    corrected = holm([row.p for row in tested if row.p is not None])
    by_name = dict(zip((row.method for row in tested), corrected, strict=True))
    return [replace(row, p_holm=by_name.get(row.method)) for row in rows]


def _row(result: MethodResult, base: MethodResult) -> Row:
    steps, exact = result.curves["exact_match"]
    areas = [area(steps, curve) for curve in exact]
    shared = [seed for seed in result.seeds if seed in base.seeds]
    mine = [result.seeds.index(seed) for seed in shared]
    theirs = [base.seeds.index(seed) for seed in shared]
    base_steps, base_exact = base.curves["exact_match"]
    difference = p = area_difference = area_p = ratio = seed_steps = tokens = None
    if result.name != base.name and shared:
        deltas = exact[mine, -1] - base_exact[theirs, -1]
        difference, p = mean_interval(deltas, SHARES_APART), sign_flip_test(deltas)
        base_areas = np.array([area(base_steps, curve) for curve in base_exact])
        area_deltas = np.array(areas)[mine] - base_areas[theirs]
        area_difference, area_p = (
            mean_interval(area_deltas, SHARES_APART),
            sign_flip_test(area_deltas),
        )
    if shared and len(steps) > 2 and steps == base_steps:
        ratio = step_ratio(steps, exact[mine], base_exact[theirs])
        seed_steps = seed_ratio(steps, exact[mine], base_exact[theirs])
        tokens = _token_ratio((result, mine), (base, theirs), ratio)
    return Row(
        method=result.name,
        seeds=len(result.seeds),
        exact_match=mean_interval(exact[:, -1], SHARE),
        greedy_exact_match=mean_interval(result.curves["greedy_exact_match"][1][:, -1], SHARE),
        reward=mean_interval(result.curves["reward"][1][:, -1]),
        area=mean_interval(areas, SHARE),
        difference=difference,
        p=p,
        p_holm=None,
        area_difference=area_difference,
        area_p=area_p,
        steps=ratio,
        seed_steps=seed_steps,
        tokens=tokens,
        seconds=float(np.mean(result.seconds)),
    )


def _token_ratio(
    method: tuple[MethodResult, list[int]],
    baseline: tuple[MethodResult, list[int]],
    ratio: StepRatio,
) -> float | None:
    """Tokens up to the two steps, by straight lines between the steps' mean cumulative counts.

    Each side: its result, and the rows of the seeds that both sides have.
    """
    sides = ((*method, ratio.step), (*baseline, ratio.baseline_step))
    if not math.isfinite(ratio.step) or any("num_tokens" not in r.metrics for r, _, _ in sides):
        return None
    counts = []
    for result, rows, step in sides:
        steps, tokens = result.metrics["num_tokens"]
        counts.append(float(np.interp(step, [0.0, *steps], [0.0, *tokens[rows].mean(0)])))
    return counts[0] / counts[1] if counts[1] else None


def to_json(results: Sequence[MethodResult], rows: Sequence[Row], plan: Plan) -> dict[str, Any]:
    """All results, with those of every seed, as plain values; infinity and NaN become null."""
    series = {
        result.name: {
            "seeds": list(result.seeds),
            "seconds": result.seconds,
            "heldout": {
                k: {"steps": s, "values": v.tolist()} for k, (s, v) in result.curves.items()
            },
        }
        for result in results
    }
    table = [asdict(row) for row in rows]
    return plain_json(
        {
            "baseline": plan.baseline,
            "seeds": list(plan.seeds),
            "methods": {m.name: list(m.overrides) for m in plan.methods},
            "table": table,
            "runs": series,
        }
    )


def plain_json(value: Any) -> Any:
    """A value as JSON can have it: tuples are lists; infinity and NaN become null."""
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

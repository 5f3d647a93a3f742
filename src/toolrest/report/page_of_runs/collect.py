"""What the page shows of a run, read from its folder; what cannot be read is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolrest.errors import InputError
from toolrest.evaluate.intervals import wilson
from toolrest.recipe import load_recipe
from toolrest.report.page_of_runs.benchmarks import benchmarks_of
from toolrest.report.page_of_runs.cost import command_of, cost_of, machine_of
from toolrest.report.page_of_runs.failures import failures_of
from toolrest.report.page_of_runs.reading import finite, iterate_rows, object_or_missing
from toolrest.report.page_of_runs.rollouts import TokenTexts, rollout_groups
from toolrest.report.page_of_runs.series import held_out_series, series_of
from toolrest.report.page_of_runs.telling import telling_response
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import figures_of, scored
from toolrest.runs.missing import no_run

_MOST_INCIDENTS = 20


def collect(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """All that the page shows of a run, as plain values.

    Args:
        share: the part of what a page may hold of responses and failures that this run may use.

    Raises:
        InputError: the folder is no run.
    """
    run = RunFolder(folder)
    if not run.recipe.is_file():
        raise InputError(f"{folder}: {no_run(folder)}")
    missing: list[str] = []
    try:
        recipe: dict[str, Any] = load_recipe(run.recipe, []).model_dump(mode="json")
    except InputError as error:
        recipe = {}
        missing.append(f"the recipe is of another version ({error})")
    summary = object_or_missing(run.summary, missing, "the run is not done")
    environment = object_or_missing(run.environment, missing, "no environment.json")
    rows = list(iterate_rows(run.metrics, missing, "no metrics.jsonl"))
    texts = TokenTexts(folder, missing)
    alone = recipe.get("method", "rl") != "rl"
    groups, sampled = [], ""
    if not alone:
        groups, sampled = rollout_groups(run, share, texts, missing)
    learnt = rows if alone else _warm(run)
    steps = rows[-1].get("step") if rows else 0
    curve = list(iterate_rows(run.curve, [], "")) if run.curve.is_file() else []
    sides = _sides(run, summary)
    return {
        "name": folder.resolve().name,
        "recipe": recipe,
        "acts": (recipe.get("environment") or {}).get("source") is not None,
        "scheme": recipe["method"] if alone else (recipe.get("weighting") or {}).get("scheme", "?"),
        "seed": recipe.get("seed"),
        "policy": recipe.get("policy"),
        "steps": steps,
        "cost": cost_of(run, recipe, summary or {}, rows),
        "machine": machine_of(environment or {}),
        "command": command_of(environment or {}),
        "commit": (environment or {}).get("commit"),
        "versions": (environment or {}).get("versions") or {},
        "table": _table(sides),
        "series": {} if alone else series_of(rows),
        "supervised": series_of(learnt),
        "curve": series_of(curve),
        "held_out": held_out_series(curve, sides, steps if isinstance(steps, int) else 0),
        "benchmarks": benchmarks_of(run, missing),
        "groups": groups,
        "telling": telling_response(groups),
        "sampled": sampled,
        "failures": failures_of(run, share, missing),
        "warnings": _warnings(run),
        "missing": missing,
    }


def _warm(run: RunFolder) -> list[dict[str, Any]]:
    """The steps of a warm start; none of a run of an earlier version."""
    return list(iterate_rows(run.warm_metrics, [], "")) if run.warm_metrics.is_file() else []


def _warnings(run: RunFolder) -> list[str]:
    """The run's warnings and incidents, one line each."""
    said = [
        f"step {row.get('step')}: {row.get('text')}; {row.get('advice')}"
        for row in (iterate_rows(run.warnings, [], "") if run.warnings.is_file() else ())
    ]
    for path in sorted(run.incidents.glob("step-*.json"))[:_MOST_INCIDENTS]:
        incident = object_or_missing(path, [], "") or {}
        said.append(
            f"step {incident.get('step')}: a {incident.get('what')} was not finite "
            f"(incidents/{path.name})"
        )
    return said


def _sides(run: RunFolder, summary: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The held-out figures `before` and `after` training; {} for what is not known."""
    sides = {}
    for when in ("before", "after"):
        found = (summary or {}).get(when) or object_or_missing(
            run.evaluation / f"{when}.json", [], ""
        )
        sides[when] = found if isinstance(found, dict) else {}
    return sides


def _table(sides: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Held-out figures before and after training; a proportion has Wilson's 95% interval."""
    rows = []
    for each in figures_of(sides["after"] or sides["before"]):
        row: dict[str, Any] = {"label": each.label, "percent": each.share}
        for when, found in sides.items():
            value, n = finite(found.get(each.key)), found.get("n")
            if value is None or not isinstance(n, int) or n < 1:
                continue
            if not row["percent"] or 0 <= value <= 1:
                row[when] = {"value": value, "n": n}
                if row["percent"]:
                    tasks = scored(found)
                    row[when]["low"], row[when]["high"] = wilson(round(value * tasks), tasks)
        if "before" in row or "after" in row:
            rows.append(row)
    return rows

"""What the page shows of a run, read from its folder; what cannot be read is named."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from toolrest.errors import InputError
from toolrest.evaluate.intervals import wilson
from toolrest.recipe import load_recipe
from toolrest.report.inspection import told_status
from toolrest.report.page_of_runs.episodes import conversation_or_none, episode_text
from toolrest.report.page_of_runs.reading import (
    finite,
    is_number,
    iterate_rows,
    object_or_empty,
    object_or_missing,
    shortened,
)
from toolrest.report.page_of_runs.rollouts import TokenTexts, rollout_groups
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import figures_of, is_done, scored
from toolrest.runs.missing import no_run

_MOST_INCIDENTS = 20
MOST_POINTS = 400
"""Steps of a curve."""
MOST_RESPONSES = 1600
"""Responses in the browser, over all runs."""
MOST_FAILURES = 60
"""Of each evaluation."""


def collect(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """All that the page shows of a run, as plain values.

    Args:
        share: the part of `MOST_RESPONSES` that this run may use.

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
        groups, sampled = rollout_groups(run, int(MOST_RESPONSES * share), texts, missing)
    learnt = rows if alone else _warm(run)
    return {
        "name": folder.resolve().name,
        "recipe": recipe,
        "acts": (recipe.get("environment") or {}).get("source") is not None,
        "scheme": recipe["method"] if alone else (recipe.get("weighting") or {}).get("scheme", "?"),
        "seed": recipe.get("seed"),
        "policy": recipe.get("policy"),
        "steps": rows[-1].get("step") if rows else 0,
        "seconds": (summary or {}).get("seconds"),
        "commit": (environment or {}).get("commit"),
        "versions": (environment or {}).get("versions") or {},
        "table": _table(run, summary),
        "series": {} if alone else _series(rows),
        "supervised": _series(learnt),
        "curve": _series(iterate_rows(run.curve, [], "")) if run.curve.is_file() else {},
        "groups": groups,
        "sampled": sampled,
        "failures": _failures(run, missing),
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


def _table(run: RunFolder, summary: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Held-out figures before and after training; a proportion has Wilson's 95% interval."""
    sides = {}
    for when in ("before", "after"):
        found = (summary or {}).get(when) or object_or_missing(
            run.evaluation / f"{when}.json", [], ""
        )
        sides[when] = found if isinstance(found, dict) else {}
    rows = []
    for each in figures_of(sides["after"] or sides["before"]):
        row: dict[str, Any] = {"label": each.label, "percent": each.share}
        for when, found in sides.items():
            value, n = found.get(each.key), found.get("n")
            if finite(value) is None or not isinstance(n, int) or n < 1:
                continue
            if not row["percent"] or 0 <= value <= 1:
                row[when] = {"value": value, "n": n}
                if row["percent"]:
                    tasks = scored(found)
                    row[when]["low"], row[when]["high"] = wilson(round(value * tasks), tasks)
        if "before" in row or "after" in row:
            rows.append(row)
    return rows


def _series(rows: Any) -> dict[str, list[list[float | None]]]:
    """{metric: [steps, values]}, thinned evenly to `MOST_POINTS`; None for a value not finite."""
    listed = [row for row in rows if isinstance(row.get("step"), int)]
    if len(listed) > MOST_POINTS:
        places = {round(i * (len(listed) - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)}
        listed = [row for place, row in enumerate(listed) if place in places]
    names = {name for row in listed for name, value in row.items() if is_number(value)}
    return {
        name: [
            [row["step"] for row in listed if name in row],
            [finite(row[name]) for row in listed if name in row],
        ]
        for name in sorted(names - {"step"})
    }


def _status(row: dict[str, Any]) -> Any:
    status = object_or_empty(row.get("reward")).get("status")
    return told_status(status, row.get("cut")) if isinstance(status, str) else status


def _failures(run: RunFolder, missing: list[str]) -> list[dict[str, Any]]:
    """Held-out responses after training that are not exactly right, or episodes whose task was not
    done, and what `toolrest evaluate` has found wrong since.
    """
    found = []
    for row in _some(run.evaluation / "after.jsonl", missing):
        what = f"held-out {row.get('identity', '?')}, {row.get('decoding', '?')}"
        episode = conversation_or_none(row) if "turns" in row else None
        if episode is not None:
            if not is_done(episode.success, episode.reward):
                found.append(_failure(what, "", episode_text(episode), episode.outcome))
        elif not object_or_empty(row.get("reward")).get("exact"):
            found.append(_failure(what, row.get("ground_truth"), row.get("response"), _status(row)))
    for path in sorted(run.evaluation.glob("*/failures.jsonl")):
        for row in _some(path, missing):
            what, got = f"{path.parent.name} {row.get('identity', '?')}", row.get("got")
            of_episode = object_or_empty(got)
            episode = conversation_or_none(of_episode) if "turns" in of_episode else None
            if episode is not None:
                found.append(_failure(what, "", episode_text(episode), episode.outcome))
                continue
            text = _text(of_episode.get("text", got))
            found.append(_failure(what, _text(row.get("expected")), text, row.get("check")))
    return found


def _some(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    """The first rows of a file, if it is there."""
    return list(islice(iterate_rows(path, missing, ""), MOST_FAILURES)) if path.is_file() else []


def _failure(what: str, expected: Any, got: Any, check: Any) -> dict[str, str]:
    return {
        "what": visible(what),
        "expected": shortened(expected),
        "got": shortened(got),
        "check": visible(str(check or "?")),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

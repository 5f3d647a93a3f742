"""What benchmarks a run was evaluated on, by the result of each evaluation."""

from __future__ import annotations

from typing import Any

from toolrest.io.objects import object_or_none
from toolrest.report.page_of_runs.reading import finite, object_or_empty
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder

MOST_ROWS = 60
"""Categories of an evaluation that are shown."""


def benchmarks_of(run: RunFolder, missing: list[str]) -> list[dict[str, Any]]:
    """Every evaluation in evaluation/<name>/result.json, those of fewer steps first.

    Each has its `name`, its `benchmark`, the `steps` of its policy if they are known, and `rows`:
    a label, n, the share of right answers, its 95 % interval, mean tokens of an answer, and
    whether the category was asked in part.
    """
    found = []
    for path in sorted(run.evaluation.glob("*/result.json")):
        if path.parent.name.endswith(".part"):
            continue
        result = object_or_none(path)
        if result is None:
            missing.append(f"evaluation {visible(path.parent.name)}: no result can be read")
            continue
        made = _evaluation(visible(path.parent.name), result)
        if made["rows"]:
            found.append(made)
    return sorted(found, key=lambda each: -1 if each["steps"] is None else each["steps"])


def _evaluation(name: str, result: dict[str, Any]) -> dict[str, Any]:
    settings = object_or_empty(result.get("settings"))
    steps = settings.get("steps")
    categories = object_or_empty(result.get("categories"))
    parts = [(str(label), object_or_empty(row)) for label, row in categories.items()]
    overall = object_or_empty(result.get("all"))
    if len(parts) > 1 and "accuracy" in overall:
        parts.append(("all", overall))
    rows = [_row(visible(label), row, row.get("accuracy")) for label, row in parts[:MOST_ROWS]]
    for label, row in object_or_empty(result.get("means")).items():
        mean = object_or_empty(row)
        rows.append(_row(f"mean: {visible(str(label))}", mean, mean.get("value")))
    told = [str(settings.get(key)) for key in ("benchmark", "version") if settings.get(key)]
    return {
        "name": name,
        "benchmark": visible(" ".join(told)) or name,
        "steps": steps if isinstance(steps, int) and not isinstance(steps, bool) else None,
        "rows": [row for row in rows if row["value"] is not None],
    }


def _row(label: str, row: dict[str, Any], value: Any) -> dict[str, Any]:
    n = row.get("n")
    return {
        "label": label,
        "n": n if isinstance(n, int) else None,
        "value": finite(value),
        "low": finite(row.get("low")),
        "high": finite(row.get("high")),
        "tokens": finite(object_or_empty(row.get("tokens")).get("value")),
        "part": row.get("whole") is False,
    }

"""The failures of a run that the page shows: of held-out tasks, and of every evaluation since."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolrest.report.page_of_runs.episodes import conversation_or_none, episode_text
from toolrest.report.page_of_runs.reading import iterate_rows, object_or_empty, shortened
from toolrest.report.page_of_runs.reasons import reason_of
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import is_done

MOST_FAILURES = 200
"""Of each evaluation that are shown."""
MOST_IN_ALL = 1_000
"""Of all runs of a page."""
_MOST_CHARACTERS = 4_000
"""Of each text of a failure."""


def failures_of(run: RunFolder, share: float, missing: list[str]) -> list[dict[str, Any]]:
    """Held-out responses after training that are not exactly right, or episodes whose task was not
    done, and what `toolrest evaluate` has found wrong since.

    Each evaluation has its name, how many failed by reason, and as many failures as are shown,
    from evenly spread places.

    Args:
        share: the part of `MOST_IN_ALL` that the run may use.
    """
    found: list[tuple[str, list[dict[str, Any]]]] = []
    if (run.evaluation / "after.jsonl").is_file():
        for decoding, rows in _held_out(run.evaluation / "after.jsonl", missing).items():
            found.append((f"held-out, {decoding}", rows))
    for path in sorted(run.evaluation.glob("*/failures.jsonl")):
        found.append((visible(path.parent.name), list(_of_benchmark(path, missing))))
    left = max(1, int(MOST_IN_ALL * share))
    made = []
    for name, rows in found:
        if not rows:
            continue
        shown = _spread(rows, min(MOST_FAILURES, left))
        left -= len(shown)
        made.append({"name": name, "reasons": _counted(rows), "rows": shown})
    return made


def _counted(rows: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(row["reason"] for row in rows).most_common())


def _spread(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return [rows[place * len(rows) // most] for place in range(max(0, most))]


def _held_out(path: Path, missing: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Failures by decoding."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in iterate_rows(path, missing, ""):
        kept = found.setdefault(visible(str(row.get("decoding", "?"))), [])
        episode = conversation_or_none(row) if "turns" in row else None
        if episode is not None:
            if not is_done(episode.success, episode.reward):
                texts = (None, episode_text(episode))
                kept.append(_failure(row, texts, episode.ending, episode.outcome))
            continue
        reward = object_or_empty(row.get("reward"))
        if not reward.get("exact"):
            texts = (row.get("ground_truth"), row.get("response"))
            kept.append(_failure(row, texts, reason_of(reward, row.get("cut"))))
    return found


def _of_benchmark(path: Path, missing: list[str]) -> Iterator[dict[str, Any]]:
    for row in iterate_rows(path, missing, ""):
        got = row.get("got")
        answered = object_or_empty(got)
        episode = conversation_or_none(answered) if "turns" in answered else None
        if episode is not None:
            texts = (None, episode_text(episode))
            yield _failure(row, texts, episode.ending, episode.outcome)
            continue
        reward = object_or_empty(answered.get("reward"))
        texts = (_text(row.get("expected")), _text(answered.get("text", got)))
        reason = reason_of(reward, answered.get("cut"), row.get("check"))
        yield _failure(row, texts, reason, _text(answered.get("detail") or ""))


def _failure(
    row: dict[str, Any], texts: tuple[Any, Any], reason: str, detail: str = ""
) -> dict[str, str]:
    expected, got = texts
    return {
        "what": visible(str(row.get("identity", "?"))),
        "question": shortened(row.get("question"), _MOST_CHARACTERS),
        "expected": shortened(expected, _MOST_CHARACTERS),
        "got": shortened(got, _MOST_CHARACTERS),
        "reason": visible(reason),
        "detail": shortened(detail, _MOST_CHARACTERS),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""Computes the results of an evaluation from its outcomes, and writes the files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from toolrest.errors import InputError, short
from toolrest.evaluate.bfcl.categories import means, official_means
from toolrest.evaluate.episode import Outcome
from toolrest.evaluate.intervals import (
    PairedDifference,
    bootstrap_combined,
    bootstrap_mean,
    paired,
    wilson,
)
from toolrest.io.files import iterate_lines, write_json, write_whole
from toolrest.io.foreign import parse_object
from toolrest.io.objects import object_or_none, read_object
from toolrest.runs.reproducibility import environment_differences

SCORES = "scores.jsonl"
FAILURES = "failures.jsonl"
RESULT = "result.json"
_SCORED = ("identity", "category", "correct", "check", "scores", "statuses", "tokens")
_FAILED = ("identity", "category", "check", "expected", "got")
_OF_THE_POLICY = ("policy", "weights", "tokenizer", "served", "answers_by")
"""Settings in which two evaluations that are compared may well differ."""

_SERVER = {"tools": "tools in the server's prompts", "left_out": "fields that it does not know"}
"""Findings on a server in which compared evaluations may differ, and what they are."""


def summarise(outcomes: Sequence[Outcome], whole: Sequence[str], release: str | None) -> Any:
    """The results of an evaluation as plain values.

    Args:
        whole: the categories of which every item was played, in order.
        release: of BFCL, whose official means are taken over them; None for another benchmark.
    """
    names = list(dict.fromkeys(outcome.category for outcome in outcomes))
    by_category = {name: [o for o in outcomes if o.category == name] for name in names}
    categories = {
        name: figures(found) | {"whole": name in whole} for name, found in by_category.items()
    }
    result: dict[str, Any] = {"categories": categories, "all": figures(outcomes)}
    if release is not None:
        for made_up in ("correct", "accuracy", "low", "high"):
            del result["all"][made_up]  # BFCL has no mean over the items of all categories
        result["means"] = _means(by_category, whole, release)
    return result


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Accuracy, further scores and mean tokens with 95 % intervals, and how replies were read."""
    correct = sum(outcome.correct for outcome in outcomes)
    low, high = wilson(correct, len(outcomes))
    tokens = [float(sum(o.tokens)) for o in outcomes if o.tokens]
    extra = sorted({name for outcome in outcomes for name in outcome.scores})
    return {
        "n": len(outcomes),
        "correct": correct,
        "accuracy": correct / len(outcomes),
        "low": low,
        "high": high,
        "scores": {name: mean_interval([o.scores[name] for o in outcomes]) for name in extra},
        "tokens": mean_interval(tokens) if tokens else None,
        "statuses": dict(Counter(s for o in outcomes for s in o.statuses).most_common()),
        "checks": dict(Counter(o.check for o in outcomes if o.check).most_common()),
    }


def mean_interval(values: list[float]) -> dict[str, float]:
    """Of a score that is 0 or 1, which is a proportion, with Wilson's interval."""
    if set(values) <= {0.0, 1.0}:
        low, high = wilson(int(sum(values)), len(values))
    else:
        low, high = bootstrap_mean(values)
    return {"value": float(np.mean(values)), "low": low, "high": high}


def _means(
    by_category: dict[str, list[Outcome]], whole: Sequence[str], release: str
) -> dict[str, dict[str, float]]:
    """Official means of categories that were run whole; intervals by drawing their items anew."""
    known = {name: by_category[name] for name in whole if name in by_category}
    count = {name: len(found) for name, found in known.items()}
    exact = {name: sum(o.correct for o in found) / len(found) for name, found in known.items()}
    values = official_means(release, exact, count)
    result = {}
    for mean in means(release):
        if mean.name not in values:
            continue
        names = list(known)

        def combine(drawn: Any, name: str = mean.name, names: list[str] = names) -> Any:
            return official_means(release, dict(zip(names, drawn, strict=True)), count)[name]

        parts = [[float(o.correct) for o in known[name]] for name in names]
        low, high = bootstrap_combined(parts, combine)
        result[mean.name] = {"value": values[mean.name], "low": low, "high": high}
    return result


def write_results(folder: Path, result: Any, outcomes: Sequence[Outcome]) -> None:
    """Write result.json, the score of every item, and the failures (expected and got)."""
    failures = [outcome for outcome in outcomes if not outcome.correct]
    write_whole(folder / SCORES, _lines(outcomes, _SCORED))
    write_whole(folder / FAILURES, _lines(failures, _FAILED))
    write_json(folder / RESULT, result)


def _lines(outcomes: Sequence[Outcome], names: Sequence[str]) -> str:
    """JSONL of these parts of the outcomes."""
    rows = ({name: getattr(outcome, name) for name in names} for outcome in outcomes)
    return "".join(json.dumps(row, default=str) + "\n" for row in rows)


def compare(first: Path, second: Path) -> dict[str, dict[str, Any]]:
    """Paired differences of two evaluations' folders, by category and over all.

    Raises:
        InputError: a folder without results, of another benchmark or other questions, or without
            items in common.
    """
    settings = [_read_json(folder / "settings.json") for folder in (first, second)]
    for key in ("benchmark", "version", "data", "checker"):
        old, new = (each.get(key) for each in settings)
        told = key in ("benchmark", "version") or None not in (old, new)
        if old != new and told:
            raise InputError(
                f"{first} and {second} are not of one benchmark: {key} is "
                f"{short(old)} and {short(new)}"
            )
    rows = [_scores(folder) for folder in (first, second)]
    shared = [identity for identity in rows[0] if identity in rows[1]]
    if not shared:
        raise InputError(f"{first} and {second} have no items in common")
    names = list(dict.fromkeys(rows[0][identity]["category"] for identity in shared))
    groups = {name: [i for i in shared if rows[0][i]["category"] == name] for name in names}
    if len(names) > 1:
        groups["all"] = shared
    return {name: asdict(_paired(rows, items)) for name, items in groups.items()}


def differing(first: Path, second: Path) -> list[str]:
    """What two evaluations differ in besides their policies, a few words each: how they were asked,
    on what they ran, and what scored them.
    """
    settings = [_read_json(folder / "settings.json") for folder in (first, second)]
    names = dict.fromkeys(name for each in settings for name in each if name not in _OF_THE_POLICY)
    said = [
        f"{name}: {_kept(settings[0], name)} and {_kept(settings[1], name)}"
        for name in names
        if settings[0].get(name) != settings[1].get(name)
    ]
    places = [object_or_none(folder / "environment.json") for folder in (first, second)]
    ran = [place for place in places if place is not None]
    if len(ran) == 1:
        said.append("where one of them ran is not kept")
    elif ran:
        said += environment_differences(ran[0], ran[1], "is", "and")
    said += [
        f"{folder} was gone on with elsewhere or otherwise ({folder / 'environment.json'})"
        for folder, place in zip((first, second), places, strict=True)
        if place is not None and place.get("resumed")
    ]
    servers = [_server(folder) for folder in (first, second)]
    said += [
        f"{words}: {short(servers[0].get(name))} and {short(servers[1].get(name))}"
        for name, words in _SERVER.items()
        if servers[0].get(name) != servers[1].get(name)
    ]
    scorers = [_scorer(folder) for folder in (first, second)]
    if scorers[0] != scorers[1]:
        said.append(f"scored by toolrest {scorers[0]} and {scorers[1]}")
    return said


def _kept(settings: dict[str, Any], name: str) -> str:
    return short(settings[name]) if name in settings else "not kept"


def _server(folder: Path) -> dict[str, Any]:
    """What was found out of the server that answered."""
    found = (object_or_none(folder / RESULT) or {}).get("server")
    return found if isinstance(found, dict) else {}


def _scorer(folder: Path) -> str:
    """The version and commit of toolrest that gave an evaluation's scores."""
    by = (object_or_none(folder / RESULT) or {}).get("scored_by")
    if not isinstance(by, dict) or not isinstance(by.get("versions"), dict):
        return "not kept"
    return f"{by['versions'].get('toolrest')} ({by.get('commit')})"


def _paired(rows: list[dict[str, dict[str, Any]]], items: list[str]) -> PairedDifference:
    first, second = ([bool(side[item]["correct"]) for item in items] for side in rows)
    return paired(first, second)


def _scores(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = [parse_object(line) for line in iterate_lines(folder / SCORES, "strict")]
        for row in rows:
            texts = isinstance(row.get("identity"), str), isinstance(row.get("category"), str)
            if not all(texts) or not isinstance(row.get("correct"), bool):
                raise ValueError(f"no item's score: {short(row)}")
        return {row["identity"]: row for row in rows}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no finished evaluation is there ({SCORES}: {error}); --compare takes the "
            "folders that toolrest evaluate names at its end"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.parent}: no evaluation is there ({path.name} cannot be read); --compare takes "
            "the folders that toolrest evaluate names at its end"
        ) from error

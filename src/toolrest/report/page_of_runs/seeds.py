"""Runs that differ in nothing but their seed, and what else runs differ in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from toolrest.report.shading import visible

_OF_A_RUN = ("name", "seed")
"""Keys of a recipe that tell runs of one method apart."""
_ABSENT = "none"
"""Stands for a key that a recipe has not."""
_MOST_KEYS = 40
_MOST_VALUE = 200
"""Characters of a recipe's value."""
_MOST_LABEL = 20
"""Characters of a value in a label."""


def seed_groups(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of runs whose recipes differ only in name and seed: a `label` and places of `runs`.

    A run whose recipe cannot be read is a group by itself.
    """
    found: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        kept = {key: value for key, value in run["recipe"].items() if key not in _OF_A_RUN}
        key = json.dumps(kept, sort_keys=True, default=str) if kept else f"unread {place}"
        found.setdefault(key, []).append(place)
    names = [[str(runs[place]["name"]) for place in places] for places in found.values()]
    stems = [_stem(each) for each in names]
    groups = []
    for (place, *others), each, stem in zip(found.values(), names, stems, strict=True):
        namesakes = [p for p, other in zip(found.values(), stems, strict=True) if other == stem]
        label = stem if others else each[0]
        if len(namesakes) > 1:
            told = _told_apart([runs[p[0]]["recipe"] for p in namesakes], runs[place]["recipe"])
            label += f", {told}" if told else ""
        groups.append({"label": label, "runs": [place, *others]})
    labels = [group["label"] for group in groups]
    for place, group in enumerate(groups):
        if labels.count(group["label"]) > 1:
            group["label"] += f" ({labels[: place + 1].count(group['label'])})"
    return groups


def _stem(names: list[str]) -> str:
    """What runs are called without their seed."""
    stems = {re.sub(r"[-_. ]*seed[-_. ]*\d+", "", name) for name in names}
    return stems.pop() or names[0] if len(stems) == 1 else f"{names[0]} and seeds"


def _told_apart(recipes: Sequence[dict[str, Any]], recipe: dict[str, Any]) -> str:
    """The first key in which recipes of one name differ, and its value in this one; "": none."""
    flat = [dict(_flat(each, "")) for each in recipes]
    mine = dict(_flat(recipe, ""))
    for key in dict.fromkeys(key for each in flat for key in each if key not in _OF_A_RUN):
        if len({each.get(key, _ABSENT) for each in flat}) > 1:
            return f"{key.rpartition('.')[2]}={mine.get(key, _ABSENT)[:_MOST_LABEL]}"
    return ""


def differences(runs: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """[key, value of each run] of every key of the recipes in which runs differ, without name and
    seed; runs whose recipe cannot be read are not compared.
    """
    flat = [dict(_flat(run["recipe"], "")) for run in runs]
    read = [each for each in flat if each]
    keys = dict.fromkeys(key for each in read for key in each if key not in _OF_A_RUN)
    differing = [key for key in keys if len({each.get(key, _ABSENT) for each in read}) > 1]
    return [[key, [each.get(key, _ABSENT) for each in flat]] for key in differing[:_MOST_KEYS]]


def _flat(value: dict[str, Any], prefix: str) -> Any:
    for key, each in value.items():
        if isinstance(each, dict) and each:
            yield from _flat(each, f"{prefix}{key}.")
        else:
            text = each if isinstance(each, str) else json.dumps(each, default=str)
            yield visible(f"{prefix}{key}"), visible(text[:_MOST_VALUE])

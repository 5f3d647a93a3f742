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


def seed_groups(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of runs whose recipes differ only in name and seed: a `label` and places of `runs`.

    A run whose recipe cannot be read is a group by itself.
    """
    found: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        kept = {key: value for key, value in run["recipe"].items() if key not in _OF_A_RUN}
        key = json.dumps(kept, sort_keys=True, default=str) if kept else f"unread {place}"
        found.setdefault(key, []).append(place)
    groups = [
        {"label": _label([str(runs[place]["name"]) for place in places]), "runs": places}
        for places in found.values()
    ]
    labels = [group["label"] for group in groups]
    for place, group in enumerate(groups):
        if labels.count(group["label"]) > 1:
            group["label"] += f" ({labels[: place + 1].count(group['label'])})"
    return groups


def _label(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    stems = {re.sub(r"[-_. ]*seed[-_. ]*\d+", "", name) for name in names}
    return stems.pop() or names[0] if len(stems) == 1 else f"{names[0]} and seeds"


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

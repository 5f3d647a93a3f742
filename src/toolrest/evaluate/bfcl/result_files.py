"""BFCL's own result files, so that the official `bfcl evaluate` can confirm the figures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolrest.evaluate.bfcl.episodes import Call, MultiTurn, SingleTurn
from toolrest.runs import write_whole

READER = "Qwen/Qwen3-8B-FC"
"""The registered model under whose name the files are written: its handler reads calls as JSON in
<tool_call> tags, whatever they hold, and leaves names as they are. Nothing else of it is used."""


def write_result_files(
    folder: Path, release: str, episodes: Iterable[SingleTurn | MultiTurn]
) -> Path:
    """Write `result/<reader>/BFCL_<release>_<category>_result.json` for every category.

    The calls are written again as they were read here, so that both score the same calls.

    Args:
        folder: to be BFCL_PROJECT_ROOT.
        episodes: that are done.
    """
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for episode in episodes:
        row = {"id": episode.identity, "result": _written(episode)}
        rows[episode.category].append(json.dumps(row, ensure_ascii=False) + "\n")
    target = folder / "result" / READER.replace("/", "_")
    target.mkdir(parents=True, exist_ok=True)
    for category, lines in rows.items():
        name = f"BFCL_{release}_{category}_result.json"
        write_whole(target / name, "".join(lines))
    return target


def _written(episode: SingleTurn | MultiTurn) -> Any:
    if isinstance(episode, SingleTurn):
        return _tags(episode.calls or [])
    return [[_tags(step) for step in turn] for turn in episode.played]


def _tags(calls: list[Call]) -> str:
    return "\n".join(
        "<tool_call>\n" + json.dumps({"name": name, "arguments": values}) + "\n</tool_call>"
        for call in calls
        for name, values in call.items()
    )

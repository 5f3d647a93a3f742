"""BFCL's own result files, so that the official `bfcl evaluate` can confirm the figures."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from keyword import iskeyword
from pathlib import Path
from typing import Any

from toolrest.evaluate.bfcl.episodes import Call, MultiTurn, SingleTurn
from toolrest.io.files import write_whole

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
        if episode.missing and "irrelevance" in episode.category:
            return _tags([{"no_reply": {}}])  # else an empty answer would be right
        return _tags(episode.calls or [])
    known = set(
        episode.official.ask("methods", category=episode.category, identity=episode.identity)
    )
    return [
        [_tags([_harmless(c, known) for c in step]) for step in turn] for turn in episode.played
    ]


def _harmless(call: Call, known: set[str]) -> Call:
    """The call as the official executor may evaluate it: names of anything but methods, and of
    parameters that are no identifiers, become words that nothing is called by.
    """
    return {
        name if name in known else _word(name): {
            key if key.isidentifier() and not iskeyword(key) else _word(key): value
            for key, value in values.items()
        }
        for name, values in call.items()
    }


def _word(name: str) -> str:
    return "unknown_" + re.sub(r"[^A-Za-z0-9]", "_", name)[:100]


def _tags(calls: list[Call]) -> str:
    return "\n".join(
        "<tool_call>\n" + json.dumps({"name": name, "arguments": values}) + "\n</tool_call>"
        for call in calls
        for name, values in call.items()
    )

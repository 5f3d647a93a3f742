"""The official `bfcl evaluate` on written result files gives the same figures, in both versions."""

import csv
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from gold import answer, candidates, play_gold
from installed import folder_of

from toolrest.evaluate.bfcl.categories import categories, official_means
from toolrest.evaluate.bfcl.episodes import SingleTurn, episodes
from toolrest.evaluate.bfcl.result_files import write_result_files

HARD = [{"name": "f", "arguments": {"x": 'a\n</tool_call>\n"\\'}}]


def spoil(episode, rng):
    """Play an item right, or wrong in one of several ways."""
    kind = rng.random()
    if isinstance(episode, SingleTurn):
        calls = next(candidates(episode))
        if kind > 0.7:
            calls = rng.choice([[], HARD, [*calls, {"name": "g", "arguments": {}}]])
        episode.receive(answer(calls))
        return episode.outcome()
    if kind < 0.6:
        return play_gold(episode)
    if kind < 0.8:
        return play_gold(episode, lambda turn, calls: calls[:-1])
    return play_gold(episode, lambda turn, calls: [{**c, "name": c["name"] + "_x"} for c in calls])


@pytest.mark.slow
def test_the_official_evaluation_agrees(official, speech, tmp_path):
    pytest.importorskip("tree_sitter_java", reason="bfcl-eval's own runner needs tree-sitter")
    rng = random.Random(0)
    played, right, count = [], Counter(), Counter()
    for category in categories(official.release):
        for episode in episodes(official, category, speech):
            right[category] += spoil(episode, rng).correct
            count[category] += 1
            played.append(episode)
    write_result_files(tmp_path, official.release, played)
    folder = folder_of(official.release)
    subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("run_official.py")),
            *([str(folder)] if folder else []),
        ],
        env=os.environ | {"BFCL_PROJECT_ROOT": str(tmp_path)},
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    scored = {
        file.name.removeprefix(f"BFCL_{official.release}_").removesuffix("_score.json"): file
        for file in tmp_path.glob("score/**/*_score.json")
    }
    assert scored.keys() == set(categories(official.release))
    for category, file in scored.items():
        first = json.loads(file.read_text().splitlines()[0])
        assert (first["correct_count"], first["total_count"]) == (
            right[category],
            count[category],
        ), category
    accuracy = {category: right[category] / count[category] for category in count}
    ours = official_means(official.release, accuracy, count)
    assert ours.keys() >= {"non_live", "live", "multi_turn"}
    for name, heading in (
        ("non_live", "Non-Live Overall Acc"),
        ("live", "Live Overall Acc"),
        ("multi_turn", "Multi Turn Overall Acc"),
        ("overall", "Overall Acc"),
    ):
        if name in ours:
            file = tmp_path / "score" / f"data_{name}.csv"
            (row,) = csv.DictReader(file.open())
            row = {key.replace("_", "-"): value for key, value in row.items()}  # v3: Non_Live
            assert row[heading] == f"{ours[name]:.2%}"

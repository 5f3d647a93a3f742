"""Runs that train on the single steps of an environment's dialogues and are evaluated in it."""

import json
from pathlib import Path

import pytest
from small_runs import toolrest

FEW = (
    *("environment.source=world", "environment.train=steps", "environment.rows=8"),
    *("max_steps=1", "save_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=2"),
    *("rollout.max_response_tokens=48", "environment.max_turns=4", "evaluation.samples=2"),
)


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_learns_from_responses_and_is_evaluated_in_episodes():
    planned = toolrest("train", *FEW, "--dry-run")
    assert "2 prompts x 2 responses from the demonstrated dialogues of 8 made rows" in planned
    toolrest("train", *FEW, "name=run", "--quiet")
    (step,) = read("runs/run/metrics.jsonl")
    assert "reward/correctness" in step and "episode/turns" not in step
    after = json.loads(Path("runs/run/evaluation/after.json").read_text())
    assert after["n"] == 2 and after["turns"] >= 1
    assert all(row["turns"] for row in read("runs/run/evaluation/after.jsonl"))
    rollouts = read("runs/run/rollouts/step-000001.jsonl")
    assert all("episode" not in row and row["ground_truth"] for row in rollouts)
    assert "Tool results" in "".join(row.get("prompt", "") for row in rollouts) or all(
        row["identity"].endswith(".0") for row in rollouts
    )
    assert "done" in toolrest("runs")
    toolrest("report", "runs/run")
    toolrest("inspect", "runs/run")
    assert (
        "Single steps of dialogues"
        in Path("runs/run/checkpoints/checkpoint-1/README.md").read_text()
    )


def test_it_can_begin_with_supervised_steps():
    toolrest("train", *FEW, "name=run", "method=sft", "warm_start.steps=1", "--quiet")
    before, after = (
        json.loads(Path(f"runs/run/evaluation/{when}.json").read_text())
        for when in ("before", "after")
    )
    assert before["n"] == after["n"] == 2 and "turns" in after

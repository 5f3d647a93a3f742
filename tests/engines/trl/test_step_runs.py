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


@pytest.mark.slow
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


@pytest.mark.slow
def test_it_can_begin_with_supervised_steps():
    said = toolrest("train", *FEW, "name=run", "method=sft", "warm_start.steps=1")
    assert "warm_start.batch_size=32, and there are 22 demonstrations: each step learns" in said
    (step,) = read("runs/run/metrics.jsonl")
    (again,) = _supervised_alone(22)
    assert step["num_tokens"] == again["num_tokens"]
    assert step["loss"] == pytest.approx(again["loss"], rel=1e-4)
    before, after = (
        json.loads(Path(f"runs/run/evaluation/{when}.json").read_text())
        for when in ("before", "after")
    )
    assert before["n"] == after["n"] == 2 and "turns" in after


def _supervised_alone(batch):
    """The metrics of the same step with a batch of all demonstrations."""
    words = ("method=sft", "warm_start.steps=1", f"warm_start.batch_size={batch}", "--quiet")
    toolrest("train", *FEW, "name=again", *words, "evaluation.samples=2")
    return read("runs/again/metrics.jsonl")


@pytest.mark.slow
def test_turns_are_scored_by_the_rules_beside_the_environment():
    """What the trainer learns from is the environment's reward and the rules' of the turns."""
    by_turns = ("environment.train=trajectories", "reward.by_turns=true", "reward.needless_turn=1")
    toolrest("train", *FEW, *by_turns, "name=run", "--quiet")
    (step,) = read("runs/run/metrics.jsonl")
    rows = read("runs/run/rollouts/step-000001.jsonl")
    assert len(rows) == 4 and all(row["episode"]["turns"] for row in rows)
    totals = [row["reward"]["total"] + row["reward"]["by_turns"] for row in rows]
    assert step["reward"] == pytest.approx(sum(totals) / 4, abs=1e-4)
    expected = [by_hand(row) for row in rows]
    assert [row["reward"]["by_turns"] for row in rows] == pytest.approx(expected)


def by_hand(row):
    """The reward of a row's turns as it wrote them, at the run's first step."""
    from toolrest.core.rewards.turns import Turns
    from toolrest.engines.common.asked import Asked
    from toolrest.engines.common.reward import ToolReward

    truths = tuple(row["ground_truth"].split("\n\n"))
    turns = Turns(turn["text"].removesuffix("<|im_end|>") for turn in row["episode"]["turns"])
    return ToolReward(needless_turn=1.0).score_batch([turns], [Asked(truths)])[0].total

"""A policy of each architecture goes through every command.

Its weights are saved as the hub has them: in bfloat16, in parts, with a vocabulary padded beyond
the tokenizer's, some with tied heads or without a padding token.
"""

import json
from pathlib import Path

import pytest
import torch
from small_runs import FEW, metrics, questions, rows, stopped_after_a_step, toolrest
from tiny_policies import ARCHITECTURES, write_policy

pytestmark = pytest.mark.slow
DIALECTS = dict.fromkeys(("gemma2", "gemma3", "mistral", "smollm2"), "hermes")
"""Of templates that write no calls; others are trained as they write."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_command_takes_it(name):
    policy = write_policy(Path("policy"), name, torch.bfloat16, max_shard_size="20KB")
    said = json.loads((policy / "generation_config.json").read_text())
    (policy / "generation_config.json").write_text(json.dumps(said | {"temperature": 0.6}))
    data = rows(Path("rows.jsonl"))
    asked = (
        *(f"data.path={data}", f"dialect={DIALECTS.get(name, 'auto')}", "data.think=false"),
        *FEW,
    )
    looked = toolrest("doctor", f"policy={policy}", *asked)
    assert "PROBLEM" not in looked and "ready" in looked.splitlines()[-1], looked

    supervised = ("method=sft", "warm_start.steps=2", "warm_start.batch_size=2", "name=sft")
    toolrest("train", f"policy={policy}", *asked, *supervised)
    assert all(row["loss"] > 0 for row in metrics(Path("runs/sft")))

    reinforced = ("policy=runs/sft/warm_start", "name=rl", "max_steps=2")
    toolrest("train", *asked, *reinforced)
    whole = metrics(Path("runs/rl"))
    assert [row["step"] for row in whole] == [1, 2]
    for path in Path("runs/rl/rollouts").iterdir():
        assert "get_news" in json.loads(path.read_text().splitlines()[0])["prompt"]
    stopped_after_a_step(Path("runs/rl"))
    toolrest("train", "--resume", "runs/rl")
    assert metrics(Path("runs/rl")) == whole

    questions(Path("apibank"))
    toolrest("evaluate", "runs/rl", "--on", "apibank", "--data", "apibank", "--max-tokens", "8")
    (folder,) = Path("runs/rl/evaluation").glob("checkpoint-2-apibank-*")
    found = json.loads((folder / "result.json").read_text())
    assert found["all"]["n"] == 3
    assert found["max_tokens"] == {"value": 8, "from": "--max-tokens"}
    prompt = (folder / "prompt.txt").read_text()
    assert "get_news" in prompt and prompt.count("What is new?") == 1

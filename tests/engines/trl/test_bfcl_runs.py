"""A run on BFCL's dialogues: trained and evaluated on its own simulators, by the command."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_policies import model_of, tokenizer_of
from typer.testing import CliRunner

from toolrest.cli.main import app

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is missing"),
]
WORDS = (
    *("environment.source=bfcl", "environment.max_turns=2", "environment.max_result_tokens=32"),
    *("environment.max_trajectory_tokens=400", "rollout.max_response_tokens=16", "policy=policy"),
    *("rollout.prompts_per_step=1", "rollout.group_size=2", "max_steps=1"),
    *("data.max_prompt_tokens=32000", "evaluation.samples=2", "evaluation.every=1", "name=run"),
    *("optimizer.micro_batch=1", "dialect=hermes"),
)


def test_training_is_evaluated_on_held_out_dialogues_by_the_official_simulators(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tokenizer = tokenizer_of("qwen3")
    model_of("qwen3", tokenizer, max_position_embeddings=40_000).save_pretrained("policy")
    tokenizer.save_pretrained("policy")
    found = CliRunner().invoke(app, ["train", *WORDS, "--quiet"], env={"COLUMNS": "300"})
    assert found.exit_code == 0, found.output

    run = Path("runs/run")
    played = {}
    for when in ("before", "after"):
        lines = (run / "evaluation" / f"{when}.jsonl").read_text().splitlines()
        played[when] = [json.loads(line) for line in lines]
        assert {each["decoding"] for each in played[when]} == {"sampled", "greedy"}
        assert len(played[when]) == 4
        assert not any(each["failure"] for each in played[when])
    heldout = {each["identity"] for each in played["before"]}
    assert heldout == {each["identity"] for each in played["after"]}
    rollouts = [json.loads(line) for p in run.glob("rollouts/*") for line in p.open()]
    trained = {each["identity"] for each in rollouts}
    assert len(heldout) == 2 and trained and not heldout & trained
    assert not {each.rpartition("_")[2] for each in heldout} & {
        each.rpartition("_")[2] for each in trained
    }
    curve = [json.loads(line) for line in (run / "evaluation/curve.jsonl").open()]
    assert [each["step"] for each in curve] == [0, 1]

"""`toolrest evaluate` of a run in its own environment."""

import json
import shutil
from collections import defaultdict
from math import comb
from statistics import mean

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def read(folder):
    """(result.json, the rows of episodes.jsonl)."""
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    return json.loads((folder / "result.json").read_text()), rows


@pytest.mark.slow
def test_the_last_checkpoint_does_as_it_did_after_training(acting_run, tmp_path):
    output = run(acting_run, "--out", "a", "--batch-size", 3)
    after = json.loads((acting_run / "evaluation" / "after.json").read_text())
    result, rows = read(tmp_path / "a")
    sampled, greedy = (result["categories"][name] for name in ("sampled", "greedy"))
    assert sampled["accuracy"] == after["exact_match"]
    assert greedy["accuracy"] == after["greedy_exact_match"]
    assert sampled["scores"]["reward"]["value"] == pytest.approx(after["reward"])
    assert greedy["scores"]["turns"]["value"] == pytest.approx(after["greedy_turns"])
    before = (acting_run / "evaluation" / "after.jsonl").read_text().splitlines()
    told = [{k: v for k, v in row.items() if k != "trial"} for row in rows]
    assert told == [json.loads(line) for line in before]
    assert f"{sampled['accuracy']:.1%}" in output and "pass^k" not in output


@pytest.mark.slow
def test_trials_give_pass_k_and_the_first_is_the_only_one_of_a_single_trial(acting_run, tmp_path):
    run(acting_run, "--samples", 5, "--out", "once")
    output = run(acting_run, "--samples", 5, "--trials", 3, "--out", "thrice")
    result, rows = read(tmp_path / "thrice")
    tasks = defaultdict(list)
    for row in rows:
        if row["decoding"] == "sampled":
            tasks[row["identity"]].append(row["success"])
    assert [len(each) for each in tasks.values()] == [3] * 5
    for k in (1, 2, 3):
        wanted = mean(comb(sum(each), k) / comb(3, k) for each in tasks.values())
        found = result["pass^k"][str(k)]
        assert found["value"] == pytest.approx(wanted) and found["tasks"] == 5
        assert found["low"] <= found["value"] <= found["high"]
    assert "pass^k" in output and "3 trials" in output
    _, once = read(tmp_path / "once")
    assert [row for row in rows if row["trial"] == 0] == once
    texts = {row["turns"][0]["text"] for row in rows if row["identity"] == rows[0]["identity"]}
    assert len(texts) > 1  # trials are drawn anew
    compared = run("--compare", "once", "thrice")
    assert "+0.00%" in compared and "trials: 1 and 3" in compared


@pytest.mark.slow
def test_a_checkpoint_can_be_named_and_the_folder_is_the_runs(acting_run, tmp_path):
    shutil.copytree(acting_run, "copy")
    run("copy", "--checkpoint", 1, "--samples", 2)
    [folder] = (tmp_path / "copy" / "evaluation").glob("checkpoint-1-environment-*")
    result, _ = read(folder)
    assert result["asked"] == {"samples": 2, "trials": 1}
    assert result["settings"]["benchmark"] == "environment"
    assert (folder / "scores.jsonl").is_file() and (folder / "environment.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "3"], "take --samples"),
        (["--samples", "0"], "must be at least 1"),
        (["--trials", "0"], "must be at least 1"),
        (["--version", "v3"], "has no version"),
        (["--categories", "live"], "none to choose from"),
        (["--dialect", "rlla"], "as in training"),
        (["--prompt", "plain"], "as in training"),
        (["--think"], "as in training"),
        (["--no-think"], "as in training"),
        (["--template-option", "a=1"], "--template-option"),
        (["--max-tokens", "9"], "rollout.max_response_tokens"),
        (["--max-prompt-tokens", "9"], "data.max_prompt_tokens"),
        (["--data", "x"], "the run's recipe"),
        (["--result-files"], "BFCL's"),
        (["--backend", "vllm"], "sampled here"),
        (["--on", "world", "--trials", "2"], "--on environment"),
        (["--on", "world", "--samples", "2"], "--on environment"),
    ],
)
def test_what_does_not_apply_is_refused_in_a_line(acting_run, tmp_path, arguments, said):
    output = run(acting_run, *arguments, code=2)
    assert said in output and len(output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_policy_of_no_environment_is_refused():
    assert "environment.source" in run("embedded", "--on", "environment", code=2)


def test_code_that_a_runs_recipe_names_is_not_run_unless_it_is_trusted(acting_run, tmp_path):
    shutil.copytree(acting_run, "copy")
    (tmp_path / "bad.py").write_text("open('ran', 'w')\ndef tool() -> str:\n    'A tool.'\n")
    recipe = tmp_path / "copy" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("source: world", f"source: {tmp_path}/bad.py"))
    assert "--trust-remote-code" in run("copy", code=2)
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_other_settings_is_kept(acting_run, tmp_path):
    run(acting_run, "--samples", 2, "--out", "a")
    before = (tmp_path / "a" / "result.json").read_bytes()
    assert "other settings (samples)" in run(acting_run, "--samples", 3, "--out", "a", code=2)
    assert (tmp_path / "a" / "result.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"1" * 5000, b"{}"])
def test_settings_of_others_end_in_a_line(acting_run, tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "settings.json").write_bytes(content)
    done = CliRunner().invoke(app, ["evaluate", str(acting_run), "--samples", "1", "--out", "a"])
    assert done.exit_code in (0, 2) and "Traceback" not in done.output

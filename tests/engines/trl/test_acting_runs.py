"""Runs of a recipe with an environment, by the command: what fails is one line, and counted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app

BANK = """
from toolrest.environments.base import Finish, Start, Step

class Bank:
    def reset(self, row, seed):
        {reset}
        return Start(({{"role": "user", "content": "Pay."}},))

    def call(self, calls):
        return Step(tuple((each.name, "paid") for each in calls))

    def finish(self, reply, ending):
        raise ValueError("no such account\\nin this bank")
"""
FEW = (
    *("environment.source=bank.py:Bank", "max_steps=2", "save_steps=1", "name=run"),
    *("rollout.prompts_per_step=2", "rollout.group_size=2", "rollout.max_response_tokens=24"),
    *("environment.max_turns=2", "environment.max_result_tokens=16", "evaluation.samples=0"),
    "environment.max_trajectory_tokens=96",
)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bank.py").write_text(BANK.format(reset="pass"))


def train(*words):
    return CliRunner().invoke(app, ["train", *FEW, *words, "--quiet"], env={"COLUMNS": "300"})


def strict(text):
    """JSON without NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.slow
def test_steps_of_failed_episodes_are_no_steps_and_are_said():
    found = train()
    assert found.exit_code == 0, found.output
    steps = [strict(line) for line in Path("runs/run/metrics.jsonl").read_text().splitlines()]
    assert [step["ending/failed"] for step in steps] == [1.0, 1.0]
    assert not any("reward" in step for step in steps)
    assert [step["grad_norm"] for step in steps] == [0.0, 0.0]
    record = strict(Path("runs/run/rollouts/step-000001.jsonl").read_text().splitlines()[0])
    assert record["episode"]["ending"] == "failed"
    assert "ValueError: no such account" in record["episode"]["failure"]
    (warned,) = map(strict, Path("runs/run/warnings.jsonl").read_text().splitlines())
    assert warned["name"] == "failed_environments" and "100%" in warned["text"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "tools", ["()", """({"type": "function", "function": {"name": "pay"}},)"""]
)
def test_the_prompt_that_is_recorded_lists_the_tools_that_the_policy_reads(tools):
    source = BANK.format(reset="pass").replace('"Pay."},)', f'"Pay."}},), {tools}')
    Path("bank.py").write_text(
        source.replace('raise ValueError("no such account\\nin this bank")', "return Finish(1.0)")
    )
    found = train("max_steps=1")
    assert found.exit_code == 0, found.output
    record = strict(Path("runs/run/rollouts/step-000001.jsonl").read_text().splitlines()[0])
    assert "Pay." in record["prompt"]
    assert ('"pay"' in record["prompt"]) == (tools != "()")


def test_a_failure_stops_the_run_in_one_line_where_that_is_asked():
    found = train("environment.failure=stop")
    assert found.exit_code == 2
    lines = [line for line in found.stderr.splitlines() if line.startswith("toolrest: ")]
    assert len(lines) == 1, found.stderr
    assert "the environment failed: environment bank.py:Bank: finish raised ValueError" in lines[0]
    assert "Traceback" not in found.stderr


def test_a_file_that_cannot_be_run_is_one_line():
    Path("bank.py").write_text("raise OSError('no disk')\n" + BANK.format(reset="pass"))
    found = train()
    assert found.exit_code == 2
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("toolrest: ")]
    assert "bank.py" in line and "no disk" in line and "Traceback" not in found.stderr

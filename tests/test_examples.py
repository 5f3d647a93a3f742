"""The examples are short, and do what they say."""

import json
import runpy
from pathlib import Path

import pytest

from toolrest.core import dialects, weights
from toolrest.core.dialects import get_dialect
from toolrest.core.rewards import correctness
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs an example as a script; what it registers is gone afterwards."""
    for home, table in ((dialects, "_DIALECTS"), (weights, "_SCHEMES"), (correctness, "_KINDS")):
        monkeypatch.setattr(home, table, dict(getattr(home, table)))

    def run_example(name, *arguments):
        monkeypatch.setattr("sys.argv", [name, *arguments])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_there_are_six_of_at_most_forty_lines():
    assert [path.stem for path in EXAMPLES] == [
        *("core_alone", "own_dialect", "own_environment", "own_reward", "own_scheme", "trl_script")
    ]
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 40, path.name


def test_a_scheme_of_your_own(run):
    assert run("own_scheme.py").split() == [
        *("tensor([[0.5000,", "0.5000,", "1.5000,", "1.5000]])"),
        *("tensor([[1.,", "1.,", "1.,", "1.]])"),
    ]


def test_a_reward_of_your_own(run):
    assert run("own_reward.py").splitlines() == ["1.00 +4.00", "0.83 +3.00", "0.00 -2.00"]


@pytest.mark.slow
def test_an_environment_of_your_own(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("own_environment.py", policy_path(Recipe(environment={"source": "world"})))
    state = json.loads((tmp_path / "door" / "checkpoint-1" / "trainer_state.json").read_text())
    assert "episode/turns" in state["log_history"][0]


def test_a_dialect_of_your_own(run):
    run("own_dialect.py")
    [call] = get_dialect("lines").parse('CALL get_news {"city": "Ghent"}').calls
    assert (call.name, call.parameters) == ("get_news", {"city": "Ghent"})


def test_the_core_without_an_engine(run):
    lines = [line.split(maxsplit=2) for line in run("core_alone.py").splitlines()]
    assert [line[0] for line in lines] == [
        *("FORMAT", "REASONING", "REASONING", "FORMAT", "FORMAT", "FORMAT", "NAME", "FORMAT"),
        *("PARAMETERS", "FORMAT"),
    ]
    assert sum(float(line[1]) for line in lines) == pytest.approx(10, abs=0.1)


def test_a_plain_trl_script(run, tmp_path):
    assert "train_loss" in run("trl_script.py", str(tmp_path))
    assert (tmp_path / "model.safetensors").is_file()
    assert "trained with ResT" in (tmp_path / "README.md").read_text()

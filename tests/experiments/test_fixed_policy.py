"""What a measurement at a fixed policy would ignore."""

import re

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.experiments.fixed_policy import check_fixed
from toolrest.experiments.gain_methods import read_gain_methods
from toolrest.experiments.trajectories import ADVANTAGES
from toolrest.recipe import Recipe, load_recipe

IGNORED = (
    *(["environment.source=world"], ["reward.function=f.py:f"], ["reward.label_noise=0.1"]),
    *(
        ["optimizer.mask_truncated=true"],
        ["optimizer.beta=0.1"],
        ["advantage.filter_groups=true", "engine=verl"],
    ),
    ["optimizer.llds=0.1", "optimizer.mini_batch=4", "save_steps=12", "max_steps=24"],
    ["rollout.branches=2", "advantage.credit=forks"],
    ["lora.dropout=0.1", "lora.rank=4"],
    ["lora.base_precision=nf4", "lora.rank=4"],
)
OF_ONE_ADVANTAGE = (["advantage.credit=spans"], ["advantage.scale=none"], ["optimizer.loss=dapo"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text("def f(completions, **columns): return [0.0] * len(completions)")


@pytest.mark.parametrize("settings", [*IGNORED, *OF_ONE_ADVANTAGE], ids=lambda words: words[0])
def test_variance_refuses_what_it_would_ignore(settings):
    done = CliRunner().invoke(app, ["variance", *settings])
    assert done.exit_code == 2
    key = settings[0].partition("=")[0]
    assert re.match(f"toolrest: {key}=.*: the variance is measured ", done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("settings", IGNORED, ids=lambda words: words[0])
def test_gain_refuses_what_it_would_ignore(settings):
    key = settings[0].partition("=")[0]
    with pytest.raises(InputError, match=f"^{key}=.*: the gain is measured "):
        read_gain_methods(load_recipe(None, settings), "rest")


@pytest.mark.parametrize("command", ["gain", "variance"])
@pytest.mark.parametrize("given", ["warm_start.method=sft", "method=sft"])
def test_a_policy_that_would_be_taught_first_is_refused(command, given):
    done = CliRunner().invoke(app, [command, given])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"toolrest: {given}: ") and done.stderr.count("\n") == 1


def test_a_default_recipe_is_measured():
    check_fixed(Recipe(), "the variance", ADVANTAGES)

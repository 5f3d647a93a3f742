"""The self-test is run once; then what it left is spoiled in every way that it looks for."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from toolrest.doctor import self_test
from toolrest.doctor.check import Status
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a self-test, and the checks that it made."""
    kept = tmp_path_factory.mktemp("kept") / "run"
    look = self_test.check_run

    def keep(recipe, run):
        shutil.copytree(run.path, kept)
        return look(recipe, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_test, "check_run", keep)
        checks = self_test.run_self_test()
    return kept, checks


@pytest.fixture
def run(trained, tmp_path):
    return RunFolder(shutil.copytree(trained[0], tmp_path / "run"))


def spoiled(run, name):
    checks = {check.name: check for check in self_test.check_run(Recipe(), run)}
    assert [n for n, c in checks.items() if c.status is not Status.OK] == [name]
    assert checks[name].status is Status.PROBLEM and checks[name].mend
    return checks[name].found


@pytest.mark.slow
def test_here_it_passes(trained):
    checks = trained[1]
    assert [check.name for check in checks] == ["training", "numbers", "weights", "checkpoint"]
    assert all(check.status is Status.OK for check in checks), checks


@pytest.mark.slow
def test_numbers_that_are_not_finite(run):
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    lines[1]["grad_norm"] = float("nan")
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert spoiled(run, "numbers") == "grad_norm is nan"


def test_steps_that_are_missing(run):
    run.metrics.unlink()
    assert spoiled(run, "numbers") == "0 of 2 steps are in metrics.jsonl"


def test_weights_whose_mean_is_not_one(run):
    file = next(run.rollouts.glob("*.jsonl"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["weights"] = [2.0 * weight for weight in rows[0]["weights"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert spoiled(run, "weights").startswith("the mean of a response's weights is ")


def test_parameters_that_did_not_move_or_are_not_finite(run):
    start = load_file(f"{policy_path(Recipe())}/model.safetensors")
    file = run.last_checkpoint() / "model.safetensors"
    save_file(start, file, metadata={"format": "pt"})
    assert spoiled(run, "checkpoint") == "training moved no parameter"
    name = next(iter(start))
    save_file({**start, name: torch.full_like(start[name], torch.inf)}, file, {"format": "pt"})
    assert "have numbers that are not finite" in spoiled(run, "checkpoint")


def test_a_checkpoint_that_is_gone(run):
    shutil.rmtree(run.checkpoints)
    assert spoiled(run, "checkpoint") == "no whole checkpoint was written"


def test_training_that_fails_is_one_line(monkeypatch):
    def fail(recipe, run):
        raise RuntimeError("no kernel image\nfor this device")

    monkeypatch.setattr(self_test, "_train", fail)
    (check,) = self_test.run_self_test()
    assert check.status is Status.PROBLEM
    assert "RuntimeError: no kernel image)" in check.found

"""Runs that keep their best checkpoint and end where nothing gets better, by what evaluations are
made to find.
"""

import json
import shutil
from pathlib import Path

import pytest
from small_runs import FEW, metrics
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.evaluate.of_run import RunEvaluation

FOUND = {0: 0.3, 1: 0.5, 2: 0.4, 3: 0.45, 4: 0.2, 5: 0.6, 6: 0.1}
"""Exact match by step."""
SETTINGS = (
    *FEW,
    *("max_steps=6", "save_steps=2", "keep_checkpoints=1", "name=it"),
    *("evaluation.every=1", "evaluation.save_best=true", "evaluation.patience=3"),
)


@pytest.fixture(scope="module", autouse=True)
def scripted_evaluations():
    def result(step):
        return {"n": 2, "exact_match": FOUND[step], "reward": 0.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunEvaluation, "whole", lambda self, model, when, step=0: result(step))
        patch.setattr(
            RunEvaluation,
            "on_the_way",
            lambda self, model, step: self.add(step, result(step)),
        )
        yield


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that has ended early, and what was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ended"))
        done = CliRunner().invoke(app, ["train", *SETTINGS], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        yield Path("runs/it").absolute(), done.output


@pytest.fixture
def copied(ended, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(ended[0], "runs/it"))


def resume(*words):
    return CliRunner().invoke(app, ["train", "--resume", "runs/it", *words], env={"COLUMNS": "200"})


def saved(run):
    return sorted(int(each.name.split("-")[1]) for each in run.glob("checkpoints/checkpoint-*"))


def best(run):
    return json.loads((run / "best.json").read_text())


def curve(run):
    lines = (run / "evaluation" / "curve.jsonl").read_text().splitlines()
    return {(point := json.loads(line))["step"]: point["exact_match"] for line in lines}


@pytest.mark.slow
def test_the_best_checkpoint_stays_and_training_ends(ended):
    run, said = ended
    assert curve(run) == {step: FOUND[step] for step in range(5)}
    assert saved(run) == [1, 4]  # the best, between two saved steps, and the newest
    assert best(run)["step"] == 1 and best(run)["value"] == 0.5
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 4 and summary["after"]["exact_match"] == FOUND[4]
    why = "training ends after step 4 of 6 (evaluation.patience=3): exact_match was best after"
    assert summary["ended_early"].startswith(why) and why in said
    assert "best policy  runs/it/checkpoints/checkpoint-1: exact_match 0.5" in said


@pytest.mark.slow
def test_a_run_that_has_ended_says_so_and_is_as_it_was(copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    refused = resume()
    assert refused.exit_code == 2
    assert "that run is done: training ends after step 4" in refused.output
    assert "evaluation.patience=null" in refused.output
    longer = resume("max_steps=8")
    assert longer.exit_code == 2 and "say this too: evaluation.patience=null" in longer.output
    after = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.slow
def test_it_goes_on_where_it_is_told_to(copied):
    done = resume("evaluation.patience=null")
    assert done.exit_code == 0, done.output
    assert curve(copied) == FOUND
    assert saved(copied) == [5, 6] and best(copied)["step"] == 5
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["steps"] == 6 and "ended_early" not in summary


@pytest.mark.slow
def test_a_killed_run_keeps_its_best_and_ends_where_the_other_did(ended, copied):
    """Killed in the third step, with a checkpoint that was being written."""
    shutil.rmtree(copied / "checkpoints" / "checkpoint-4")
    (copied / "checkpoints" / "checkpoint-3").mkdir()
    (copied / "summary.json").unlink()
    done = resume()
    assert done.exit_code == 0, done.output
    assert "going on from step 1 of 6" in done.output
    assert metrics(copied) == metrics(ended[0])
    assert saved(copied) == [1, 4] and best(copied) == best(ended[0])
    assert curve(copied) == curve(ended[0])


@pytest.mark.slow
def test_a_run_killed_before_its_end_was_written_trains_no_more(ended, copied):
    (copied / "summary.json").unlink()
    steps = (copied / "metrics.jsonl").read_bytes()
    done = resume()
    assert done.exit_code == 0, done.output
    assert "training ends after step 4 of 6" in done.output
    assert (copied / "metrics.jsonl").read_bytes() == steps
    assert json.loads((copied / "summary.json").read_text())["steps"] == 4
    assert best(copied) == best(ended[0])

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.estimate.settings import KEYS
from toolrest.recipe import Recipe, parse_recipe, says

TINY = (
    *("max_steps=2", "save_steps=1", "rollout.prompts_per_step=1", "rollout.group_size=4"),
    *("rollout.max_response_tokens=24", "evaluation.samples=2", "evaluation.every=1"),
)


IN_AN_ENVIRONMENT = (
    *("environment.source=world", "environment.rows=16", "environment.max_turns=4"),
    *("environment.max_trajectory_tokens=320", "--methods", "steps,trajectories"),
)


def command_with(out, *more):
    options = ("--methods", "grpo,spans", "--seeds", "1", "--jobs", "1", "--out", str(out))
    return ["compare", *TINY, *options, *more]


def at_work_in(folder):
    """The processes that have that for their own folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found += [process.name] * (Path(os.readlink(process / "cwd")) == folder)
    return found


def without_times(folder):
    figures = json.loads((folder / "compare.json").read_text())
    for row in figures["table"]:
        del row["seconds"]
    for run in figures["runs"].values():
        del run["seconds"]
    return figures


def test_settings_are_worked_out_once_for_all_methods_and_seeds(tmp_path, monkeypatch):
    """And a comparison that goes on has them as it began, whatever memory is free now."""
    from toolrest.cli.compare import _sized
    from toolrest.estimate.needs import Device
    from toolrest.policy import sizing

    policy = tmp_path / "policy"
    shutil.copytree(str(files("toolrest.world") / "policy"), policy)
    recipe = parse_recipe({"policy": str(policy), "rollout": {"group_size": 4}}, "x")
    monkeypatch.setattr(sizing, "look_at_device", lambda: Device("a CPU", 16e9))
    began = _sized(recipe, None)
    assert all(says(began, key) for key in KEYS) and began.rollout.group_size == 4
    assert began.rollout.max_response_tokens == 128 != recipe.rollout.max_response_tokens
    monkeypatch.setattr(sizing, "look_at_device", lambda: pytest.fail("it was looked at again"))
    assert _sized(recipe, began).model_dump() == began.model_dump()
    assert _sized(Recipe(), None) == Recipe()


def test_a_run_has_the_threads_that_the_environment_says(monkeypatch):
    from toolrest.cli.compare import _threads

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert _threads(16, 2) == 3
    for said in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert (_threads(16, 2), _threads(2, 8)) == (8, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "methods"),
    [((), ("grpo", "spans")), (IN_AN_ENVIRONMENT, ("steps", "trajectories"))],
    ids=["responses", "steps and trajectories"],
)
def test_killed_in_the_middle_and_started_again_it_ends_with_the_same_table(
    tmp_path, words, methods, forking
):
    def command(out):
        return command_with(out, *words)

    straight = forking.run(*command(tmp_path / "a"), cwd=tmp_path, timeout=900)
    assert straight.returncode == 0, straight.stderr
    assert "2/2" in straight.stdout
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # as if its first run were just finished
    shutil.rmtree(tmp_path / "b" / "runs" / f"{methods[1]}-seed0")
    (tmp_path / "b" / "compare.json").unlink()
    process = forking.start(*command(tmp_path / "b"), cwd=tmp_path)
    first = tmp_path / "b" / "runs" / f"{methods[0]}-seed0" / "summary.json"
    second = tmp_path / "b" / "runs" / f"{methods[1]}-seed0" / "metrics.jsonl"
    until = time.monotonic() + 600
    while not second.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    assert second.is_file()
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    time.sleep(0.5)
    assert not at_work_in(tmp_path / "b")  # the cell ended with its parent
    finished = first.stat().st_mtime_ns
    again = forking.run(*command(tmp_path / "b"), cwd=tmp_path, timeout=900)
    assert again.returncode == 0, again.stderr
    assert "1 of 2 runs are there already" in again.stdout
    assert first.stat().st_mtime_ns == finished
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")
    measured = "tasks done" if words else "exact match"
    assert f"| {measured}, % |" in (tmp_path / "b" / "compare.md").read_text()
    for name in methods:  # of both ways to train, whole episodes are what is held out
        run = tmp_path / "b" / "runs" / f"{name}-seed0"
        points = [json.loads(line) for line in (run / "evaluation" / "curve.jsonl").open()]
        assert [("turns" in point, point["n"]) for point in points] == [(bool(words), 2)] * 3
        assert ("episode/turns" in (run / "metrics.jsonl").read_text()) == (name == "trajectories")


@pytest.mark.slow
def test_a_failed_run_is_said(tmp_path, forking):
    """The method's policy folder is not there when its run starts."""
    methods = ("--methods", "grpo:policy=./gone")
    broken = command_with(tmp_path / "c", *methods)
    done = forking.run(*broken, cwd=tmp_path)
    assert done.returncode == 1
    assert "grpo-policy-.-gone with seed 0 failed" in done.stderr
    assert "there is no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def invoke(*arguments):
    return CliRunner().invoke(app, ["compare", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "grop"], "did you mean 'grpo'"),
        (["--seeds", "none"], "--seeds none"),
        (["--baseline", "dapo"], "--baseline dapo"),
        (["max_step=3"], "did you mean 'max_steps'"),
        (["--report"], "no comparison is there"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, words):
    done = invoke(*arguments, "--out", str(tmp_path / "c"))
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "c" / "runs").exists()


def test_two_at_once_in_one_folder_are_refused(tmp_path):
    import fcntl

    (tmp_path / "c").mkdir()
    with (tmp_path / "c" / "compare.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = invoke("--out", str(tmp_path / "c"))
    assert done.exit_code == 2
    assert "another toolrest compare is at work" in done.output


def test_the_presets_can_be_listed():
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["compare", "--list"])
    assert done.exit_code == 0
    assert "rest_no_curriculum" in done.output and os.linesep in done.output


@pytest.mark.slow
def test_stability_says_its_time_ends_runs_that_collapse_and_goes_on(tmp_path, forking):
    """Responses of 24 tokens are cut, so that no format is right."""
    out = tmp_path / "out"
    words = ["compare", *TINY, "--stability", "--rates", "1e-4,2e-4", "--methods", "grpo"]
    words += ["--jobs", "1", "--out", str(out)]
    done = forking.run(*words, "--seeds", "1", cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "2 runs; one generation is timed first" in done.stdout
    assert "reckoned from one generation" in done.stdout and "2/2" in done.stdout
    found = json.loads((out / "stability.json").read_text())
    assert [(run["rate"], run["steps"], run["sign"]) for run in found["runs"]] == [
        (1e-4, 1, "format"),
        (2e-4, 1, "format"),
    ]
    summary = json.loads((out / "runs" / "grpo-lr1e-4-seed0" / "summary.json").read_text())
    assert summary["ended_early"].endswith("(collapse.end=true)")
    first = (out / "runs" / "grpo-lr1e-4-seed0" / "summary.json").stat().st_mtime_ns
    more = forking.run(*words, "--seeds", "2", cwd=tmp_path, timeout=900)
    assert more.returncode == 0, more.stderr
    assert "2 of 4 runs are there already" in more.stdout
    assert "the mean of the 2 that are finished" in more.stdout
    assert (out / "runs" / "grpo-lr1e-4-seed0" / "summary.json").stat().st_mtime_ns == first
    assert len(json.loads((out / "stability.json").read_text())["runs"]) == 4
    other = forking.run("compare", *TINY, "--out", str(out), cwd=tmp_path, timeout=900)
    assert other.returncode == 2 and "is one with --stability" in other.stderr

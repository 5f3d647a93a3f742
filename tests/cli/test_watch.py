"""`toolrest watch`: a run that another process trains."""

import fcntl
import io
import json
import os
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from toolrest.cli import watch as command
from toolrest.cli.main import app
from toolrest.io.files import append_json, is_locked, write_json, write_whole
from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.following import Following, is_held
from toolrest.report.live import LiveView
from toolrest.runs.folder import RunFolder

SMALL = ("max_steps=4", "save_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=2")
SMALL += ("evaluation.samples=4", "name=a")
RESULT = {"n": 8, "exact_match": 0.25, "greedy_exact_match": 0.5}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_PAUSE", 0.01)


def a_run(steps=0, **settings):
    run = RunFolder(Path("runs/a"))
    run.evaluation.mkdir(parents=True)
    run.recipe.write_text(dump_recipe(Recipe(max_steps=4, **settings)))
    for step in range(1, steps + 1):
        append_json(run.metrics, {"step": step, "reward": float(step)})
    return run


def watched(*words, code=0):
    done = CliRunner().invoke(app, ["watch", *(words or ("runs/a",))])
    assert done.exit_code == code, done.output
    return done.output


class Watched:
    """Lines that a follower has shown since the last look."""

    def __init__(self, run):
        self.file = io.StringIO()
        view = LiveView(console=Console(file=self.file, width=200, highlight=False))
        self.following = Following(run, view)

    def look(self):
        start = self.file.tell()
        self.following.look()
        return self.file.getvalue()[start:].splitlines()


def test_what_is_no_run_is_one_line():
    a_run()
    for words in ("runs/b", "runs", "runs/a/evaluation"):
        output = watched(words, code=2)
        assert output.count("\n") == 1 and f"{words}: " in output and "a" in output


def test_steps_warnings_and_evaluations_are_shown_as_they_come():
    run = a_run()
    shown = Watched(run)
    (waiting,) = shown.look()
    assert waiting.startswith("no step yet")
    assert shown.look() == []
    write_json(run.evaluation / "before.json", RESULT)
    assert shown.look() == [
        "held out, before training (n = 8): exact match, sampled 25.0%; exact match, greedy 50.0%"
    ]
    append_json(run.metrics, {"step": 1, "reward": 0.5, "entropy/format": 0.25, "odd": "text"})
    assert shown.look() == ["training", "step 1/4  reward 0.50  entropy:  format 0.25"]
    with run.metrics.open("a") as file:
        file.write('not json\n{"step": 2, "rewa')
    assert shown.look() == []
    with run.metrics.open("a") as file:
        file.write('rd": 1.5}\n')
    assert shown.look() == ["step 2/4  reward 1.50  entropy:"]
    append_json(run.warnings, {"name": "x", "step": 2, "text": "odd \x1b[31m", "advice": "look"})
    (warning,) = shown.look()
    assert warning.startswith("warning, step 2: odd \\u001b[31m; look")
    append_json(run.curve, {"step": 2} | RESULT)
    assert shown.look()[0].startswith("held out, after step 2 (n = 8): exact match, sampled 25.0%")
    assert shown.look() == []


def test_steps_that_were_there_are_no_lines_and_a_run_that_goes_on_says_so():
    run = a_run(steps=3)
    shown = Watched(run)
    assert shown.look() == ["training", "step 3/4  reward 3.00  entropy:"]
    append_json(run.curve, {"step": 1} | RESULT)
    shown.look()
    run.rewind(1)
    assert shown.look() == [
        *("the run goes on from step 1", "training", "step 1/4  reward 1.00  entropy:")
    ]
    assert shown.following.step == 1
    append_json(run.metrics, {"step": 2, "reward": 2.0})
    assert shown.look() == ["step 2/4  reward 2.00  entropy:"]


def test_supervised_steps_have_their_own_total():
    run = a_run(warm_start={"method": "sft", "steps": 9})
    append_json(run.warm_metrics, {"step": 1, "loss": 2.0, "grad_norm": 1.0})
    shown = Watched(run)
    assert shown.look() == ["warm start", "step 1/9  loss 2.0000"]
    append_json(run.metrics, {"step": 1, "reward": 2.0})
    assert shown.look() == ["training", "step 1/4  reward 2.00  entropy:"]
    alone = dump_recipe(Recipe(method="sft", warm_start={"steps": 7}))
    write_whole(run.recipe, alone)
    append_json(run.metrics, {"step": 2, "loss": 1.0})
    assert shown.look() == ["step 2/4  loss 1.0000"]
    assert Watched(run).look()[-1] == "step 2/7  loss 1.0000"


def test_a_terminal_has_the_board():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with LiveView(console=console, rate=1) as view:
        Following(a_run(steps=3), view).look()
    assert "3/4" in file.getvalue() and "reward" in file.getvalue()


def test_a_run_that_is_done_shows_its_end():
    run = a_run(steps=4)
    summary = {"before": RESULT, "after": RESULT, "steps": 4, "seconds": 9.0, "scheme": "rest"}
    write_json(run.summary, summary | {"seed": 0})
    output = watched()
    assert "step 4/4" in output and "4 steps, 9 s" in output and "25.0%" in output
    run.summary.write_text("[]")
    assert "its summary cannot be read" in watched()


def test_a_run_whose_process_has_died_is_said_so_with_what_goes_on():
    run = a_run(steps=3)
    run.lock.touch()
    output = watched(code=1)
    assert "its process has ended at step 3 of 4" in output
    assert "Go on with: toolrest train --resume runs/a" in output


def test_a_run_is_followed_to_its_end_while_it_is_held():
    run = a_run()
    summary = {"before": None, "after": None, "steps": 1, "seconds": 1.0, "scheme": "rest"}

    def trained():
        with run.held():
            ready.set()
            time.sleep(0.3)
            append_json(run.metrics, {"step": 1, "reward": 1.0})
            write_json(run.summary, summary | {"seed": 0})
            time.sleep(0.3)

    ready = threading.Event()
    training = threading.Thread(target=trained)
    training.start()
    ready.wait()
    output = watched()
    training.join()
    assert output.index("no step yet") < output.index("step 1/4") < output.index("1 step, 1 s")


def test_ctrl_c_ends_it_with_0_and_leaves_the_run(monkeypatch):
    run = a_run(steps=1)

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupted)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with run.held():
        assert "no longer watched" in watched()
    assert is_held(run) is False
    assert {path for path in run.path.rglob("*") if path != run.lock} == set(before)


def test_a_look_at_a_lock_keeps_nobody_out(tmp_path):
    run = a_run()
    assert not is_locked(run.lock)
    assert not run.lock.exists()
    with run.held():
        assert is_locked(run.lock) and is_held(run)
    assert not is_locked(run.lock)
    descriptor = os.open(run.lock, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # somebody else who looks
    assert not is_locked(run.lock)
    threading.Timer(0.1, os.close, [descriptor]).start()
    with run.held():  # waits for who looks
        pass


@pytest.mark.slow
def test_a_real_run_is_watched_killed_and_watched_again(tmp_path, forking):
    training = forking.start("train", *SMALL, cwd=tmp_path)
    run = RunFolder(Path("runs/a"))
    wait_for(lambda: run.recipe.is_file() and is_held(run))
    watching = forking.start("watch", "runs/a", cwd=tmp_path)
    wait_for(lambda: run.metrics.is_file() and len(run.metrics.read_text().splitlines()) >= 2)
    time.sleep(2)
    training.kill()
    training.wait(60)
    output, _ = watching.communicate(timeout=60)
    if not run.summary.is_file():  # a fast machine may be done before it is killed
        assert watching.returncode == 1 and "Go on with: toolrest train --resume runs/a" in output
        going_on = forking.start("train", "--resume", "runs/a", cwd=tmp_path)
        wait_for(lambda: is_held(run))
        again = forking.run("watch", "runs/a", cwd=tmp_path)
        assert going_on.wait(240) == 0
        assert again.returncode == 0 and "step 4/4" in again.stdout, again.stdout + again.stderr
    assert len(run.metrics.read_text().splitlines()) == 4
    assert [json.loads(line)["step"] for line in run.metrics.open()] == [1, 2, 3, 4]


def wait_for(happened, seconds=240):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)

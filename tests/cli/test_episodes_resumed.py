"""A command-line run in an environment that was killed in the middle ends as one that was not."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

RUN = (
    *(
        "environment.source=world",
        "environment.max_turns=4",
        "environment.max_trajectory_tokens=320",
    ),
    *("max_steps=4", "save_steps=2", "rollout.prompts_per_step=2", "rollout.group_size=2"),
    *("rollout.max_response_tokens=32", "evaluation.samples=2", "evaluation.every=2"),
    "advantage.credit=turns",
)
TIMED = ("seconds", "step_time")
MOMENTS = {
    "before the first step": lambda run: (run / "evaluation" / "before.json").is_file(),
    "in the second step": lambda run: (run / "rollouts" / "step-000002.jsonl").is_file(),
    "after the third step": lambda run: lines(run / "metrics.jsonl") >= 3,
}


def lines(path):
    return path.read_text().count("\n") if path.is_file() else 0


def killed(folder, reached, forking):
    """Start the run there, and kill it at a moment."""
    run = folder / "runs" / "run"
    with forking.start("train", *RUN, "name=run", cwd=folder) as process:
        until = time.monotonic() + 600
        while not reached(run):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (run / "summary.json").exists()
    return run


def written(run):
    """All that a run has written of what it did, without times."""
    found = {}
    for path in sorted((*run.glob("rollouts/*"), *run.glob("evaluation/*"), run / "metrics.jsonl")):
        text = path.read_text()
        whole = [json.loads(text)] if path.suffix == ".json" else map(json.loads, text.splitlines())
        found[str(path.relative_to(run))] = [without_times(each) for each in whole]
    return found


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMED}
    return [without_times(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def straight(tmp_path_factory, forking):
    folder = tmp_path_factory.mktemp("straight")
    done = forking.run("train", *RUN, "name=run", cwd=folder, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "run"


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_it_is_resumed_to_the_bit(straight, moment, tmp_path, forking):
    run = killed(tmp_path, MOMENTS[moment], forking)
    again = forking.run("train", "--resume", "auto", cwd=tmp_path, timeout=900)
    assert again.returncode == 0, again.stderr
    assert written(run) == written(straight)
    ends = [each / "checkpoints" / "checkpoint-4" / "model.safetensors" for each in (straight, run)]
    weights = [load_file(end) for end in ends]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(Path(tmp_path)) not in listed
    shutil.rmtree(run / "checkpoints")

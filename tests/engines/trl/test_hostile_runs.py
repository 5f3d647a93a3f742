"""Hostile environments by the command: a run ends in bounded time, with one line, and no orphan."""

import json
import time
from pathlib import Path

import pytest
from acting import SOURCES
from environments.processes import all_gone

pytestmark = pytest.mark.slow

WENT_WRONG = {
    "Threads": None,  # what it left ends with it; the reward was there already
    "Servers": None,
    "Sockets": "finish ended",
    "Stopped": "finish took over 3 s",
    "Waits": "finish took over 3 s",
    "Wordless": "finish raised Odd",
    "Deep": "finish raised RecursionError",
    "Endless": "finish took over 3 s",
}


@pytest.mark.parametrize("kind", WENT_WRONG)
def test_a_run_ends_in_time_and_says_what_happened(kind, tmp_path, forking):
    policy = Path(__file__).parents[3] / "src" / "toolrest" / "world" / "chain_policy"
    rows = [{"split": "train", "seed": 0, "index": index} for index in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"environment.source={SOURCES / 'hostile_chains.py'}:{kind}", f"policy={policy}"]
    words += ["dialect=rlla", "data.path=rows.jsonl", "data.heldout_fraction=0", "max_steps=1"]
    words += [
        "rollout.prompts_per_step=1",
        "rollout.group_size=2",
        "rollout.max_response_tokens=64",
    ]
    words += ["environment.max_turns=4", "environment.max_trajectory_tokens=320", "name=run"]
    words += ["environment.call_timeout=3", "evaluation.samples=0", "--quiet"]
    began = time.monotonic()
    notes = {"HOSTILE_NOTES": str(tmp_path / "pids"), "OMP_NUM_THREADS": "1"}
    done = forking.run("train", *words, cwd=tmp_path, env=notes, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    assert time.monotonic() - began < 300
    pids = [int(each) for each in (tmp_path / "pids").read_text().split()]
    assert pids and all_gone(pids)
    (step,) = map(json.loads, (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines())
    failed = [line for line in done.stderr.splitlines() if "episodes failed" in line]
    if WENT_WRONG[kind] is None:
        assert step["ending/failed"] == 0 and not failed
    else:
        assert step["ending/failed"] == 1
        assert len(failed) == 1 and WENT_WRONG[kind] in failed[0], done.stderr
    assert "Traceback" not in done.stderr

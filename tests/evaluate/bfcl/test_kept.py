"""Simulators stay between the calls of a dialogue, and answer as if all steps were run again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import folder_of


@pytest.mark.parametrize("release", ["v3", "v4"])
def test_a_step_runs_its_own_calls_alone_and_answers_as_all_steps_would(release):
    """20 dialogues of gold calls side by side, one of them twice, and one beside another trial."""
    script = Path(__file__).parent / "counted.py"
    played = subprocess.run(
        [sys.executable, script, str(folder_of(release) or "")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert played.returncode == 0, played.stderr
    found = json.loads(played.stdout.splitlines()[-1])
    assert found["release"] == release
    assert found["equal"] and found["repeated"] and found["results"] > 100
    steps = found["steps"]
    assert steps >= 10
    assert found["counts"] == [steps, steps * (steps + 1) // 2]
    assert found["kept"] == found["runs"] == 3

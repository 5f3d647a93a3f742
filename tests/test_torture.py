"""The short form of `python tests/torture.py`."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "torture.py"


def test_killed_runs_end_as_the_undisturbed_one():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("3 kills in ")

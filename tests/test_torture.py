"""The short form of `python tests/torture.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "torture.py"


def torture(*options):
    """The last line that it prints."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_killed_runs_end_as_the_undisturbed_one():
    assert torture("--kills", "3").startswith("3 kills in ")


@pytest.mark.slow
def test_of_two_who_begin_a_run_one_trains_to_its_end():
    assert torture("--starts", "3").startswith("3 pairs of starts: one trained to its end")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "compare", "prepare"])
def test_killed_commands_end_as_undisturbed_ones(name):
    assert torture(f"--{name}", "2").startswith(f"2 kills of {name} in ")

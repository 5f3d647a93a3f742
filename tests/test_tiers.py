"""What continuous integration runs of each matrix is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiers import IN_CI

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_case_that_is_listed_is_run_and_others_are_the_release_s():
    def collected(marked):
        words = ("--collect-only", "-q", "-o", "addopts=--import-mode=importlib", "-m", marked)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, *(f"tests/{file}" for file in IN_CI)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return set(done.stdout.splitlines())

    listed = {
        f"tests/{file}::{name}[{case}]"
        for file, tests in IN_CI.items()
        for name, cases in tests.items()
        for case in cases
    }
    assert listed <= collected("slow and not release")
    others = collected("release")
    for file, tests in IN_CI.items():
        for name in tests:
            assert any(each.startswith(f"tests/{file}::{name}[") for each in others), name

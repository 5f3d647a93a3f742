"""What continuous integration runs of each matrix is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiers import IN_CI, OF_THE_RELEASE

ROOT = Path(__file__).parents[1]
LISTING = """
import sys, pytest

class Listing:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        for item in items:
            for tier in ("release", "slow"):
                if item.get_closest_marker(tier):
                    print(f"{tier}: {item.nodeid}", flush=True)
                    break

words = ["--collect-only", "-q", "-q", "-o", "addopts=--import-mode=importlib"]
sys.exit(pytest.main([*words, *sys.argv[1:]], plugins=[Listing()]))
"""


@pytest.mark.slow
def test_every_case_that_is_listed_is_run_and_others_are_the_release_s():
    files = sorted({*IN_CI, *OF_THE_RELEASE})
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *(f"tests/{file}" for file in files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    tiers: dict[str, set[str]] = {"release": set(), "slow": set()}
    for line in done.stdout.splitlines():
        tier, colon, test = line.partition(": ")
        if colon and tier in tiers:
            tiers[tier].add(test)
    listed = {
        f"tests/{file}::{name}[{case}]"
        for file, tests in IN_CI.items()
        for name, cases in tests.items()
        for case in cases
    }
    assert listed <= tiers["slow"]
    wholes = [(f, name, "[") for f, tests in IN_CI.items() for name in tests]
    wholes += [(f, name, "") for f, tests in OF_THE_RELEASE.items() for name in tests]
    for file, name, bracket in wholes:
        begun = f"tests/{file}::{name}{bracket}"
        assert any(each.startswith(begun) for each in tiers["release"]), name
        if not bracket:
            assert not any(each.startswith(begun) for each in tiers["slow"]), name

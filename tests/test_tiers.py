"""What continuous integration runs of each matrix is there."""

import pytest
from tiers import IN_CI, OF_THE_RELEASE


def test_every_case_that_is_listed_is_run_and_others_are_the_release_s(tiers):
    """Of the tests that this process has collected: a file of which only a part was is left out."""
    if not {*IN_CI, *OF_THE_RELEASE} <= tiers.files:
        pytest.skip("not all the files of the list are collected: make test collects them")
    listed = {
        f"{file}::{name}[{case}]"
        for file, tests in IN_CI.items()
        for name, cases in tests.items()
        for case in cases
    }
    assert listed <= tiers.slow
    wholes = [(f, name, "[") for f, tests in IN_CI.items() for name in tests]
    wholes += [(f, name, "") for f, tests in OF_THE_RELEASE.items() for name in tests]
    for file, name, bracket in wholes:
        begun = f"{file}::{name}{bracket}"
        assert any(each.startswith(begun) for each in tiers.release), name
        if not bracket:
            assert not any(each.startswith(begun) for each in tiers.slow), name

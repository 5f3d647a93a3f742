"""scripts/trl_suite.py tells a refused setting from a test that it breaks."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "trl_suite.py"


@pytest.fixture(scope="module")
def suite():
    spec = importlib.util.spec_from_file_location("trl_suite", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(path, *cases):
    lines = [
        f'<testcase classname="tests.test_x.TestX" name="{n}">{b}</testcase>' for n, b in cases
    ]
    path.write_text(f"<testsuites><testsuite>{''.join(lines)}</testsuite></testsuites>")
    return path


def test_a_report_is_read_by_outcome_and_reason(tmp_path, suite):
    found = suite.read_report(
        report(
            tmp_path / "rest.xml",
            ("test_a", ""),
            ("test_b", '<failure message="toolrest.errors.InputError: no&#10; such"/>'),
            ("test_c", '<error message="OSError: x"/>'),
            ("test_d", '<skipped message="y"/>'),
        )
    )
    assert found == {
        "TestX::test_a": ("passed", ""),
        "TestX::test_b": ("failed", "toolrest.errors.InputError: no such"),
        "TestX::test_c": ("failed", "OSError: x"),
        "TestX::test_d": ("skipped", ""),
    }


def test_only_what_passes_plain_is_held_against_us(suite):
    """A refusal is no fault; a test that is skipped or gone is one."""
    plain = dict.fromkeys("abcde", ("passed", "")) | {"f": ("failed", "ValueError: x")}
    ours = {
        "a": ("passed", ""),
        "b": ("failed", "toolrest.errors.InputError: not with rest"),
        "c": ("failed", "AssertionError: y"),
        "d": ("skipped", ""),
        "f": ("failed", "ValueError: x"),
    }
    refused, broken = suite.differing(plain, ours)
    assert refused == {"b": "not with rest"}
    assert broken == {"c": "AssertionError: y", "d": "skipped", "e": "was not run"}


def test_a_folder_that_is_no_checkout_is_named(tmp_path, suite):
    with pytest.raises(SystemExit, match=r"no tests/test_grpo_trainer\.py"):
        suite.prepare(tmp_path / "elsewhere", tmp_path / "out", 2)

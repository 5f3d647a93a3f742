"""What has changed since a run began is said and kept."""

import json

import pytest

from toolrest.runs.environment import begin_run
from toolrest.runs.folder import RunFolder
from toolrest.runs.reproducibility import describe_machine, describe_variables, record_machine


@pytest.fixture
def run(tmp_path):
    found = RunFolder(tmp_path)
    begin_run(found, "seed: 0\n", 0)
    return found


def environment(run):
    return json.loads(run.environment.read_text())


def test_the_machine_is_recorded_once(run):
    assert "machine" not in environment(run)
    assert record_machine(run, 0, 1) == []
    assert environment(run)["machine"] == describe_machine(1)
    assert record_machine(run, 0, 1) == []
    assert "resumed" not in environment(run)


def test_what_has_changed_is_said_and_kept(run):
    record_machine(run, 0, 1)
    known = environment(run)
    known["versions"]["torch"] = "2.0"
    known["machine"]["threads"] = 99
    run.environment.write_text(json.dumps(known))
    changed = record_machine(run, 0, 2)
    assert [line.split(" was ")[0] for line in changed] == ["torch", "threads", "processes"]
    assert changed[2] == "processes was 1, is 2"
    assert len(environment(run)["resumed"]) == 1
    assert environment(run)["versions"]["torch"] == "2.0"


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_an_environment_that_cannot_be_read_is_said(run, content):
    run.environment.write_text(content)
    assert "could not be read" in record_machine(run, 0, 1)[0]
    assert environment(run)["machine"]["processes"] == 1


def test_variables_that_numbers_depend_on_are_kept_and_compared_without_keys(run, monkeypatch):
    names = (
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "HF_HUB_OFFLINE", "PYTHONHASHSEED"),
        *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM"),
        *("CUBLAS_WORKSPACE_CONFIG", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "OPENBLAS_CORETYPE"),
    )
    for name in names:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdefghij")
    monkeypatch.setenv("HF_ENDPOINT", "https://u:hunter2@h")
    found = describe_variables()
    assert dict.fromkeys(names, "1").items() <= found.items()
    assert "HF_TOKEN" not in found and "PATH" not in found
    assert "hunter2" not in json.dumps(found)
    record_machine(run, 0, 1)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.delenv("MKL_CBWR")
    assert record_machine(run, 0, 1) == [
        "ATEN_CPU_CAPABILITY was 1, is default",
        "MKL_CBWR was 1, is None",
    ]


def test_another_commit_of_toolrest_is_said(run, monkeypatch):
    record_machine(run, 0, 1)
    monkeypatch.setattr("toolrest.runs.environment._commit", lambda: "0123abc")
    assert record_machine(run, 0, 1)[0].endswith(", is 0123abc")

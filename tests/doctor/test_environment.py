"""torch's build against the machine, and extras against the recipe."""

import pytest
from packaging.requirements import Requirement

from toolrest.doctor import environment
from toolrest.doctor.check import Status
from toolrest.doctor.environment import Torch, check_extra, check_torch
from toolrest.recipe import Recipe

CARD = ("NVIDIA H100", 80 * 10**9)


@pytest.mark.parametrize(
    ("torch", "driver", "status", "found"),
    [
        (Torch(None, ()), None, Status.OK, "CPU"),
        (Torch("CUDA 13.0", (CARD,)), ["NVIDIA H100"], Status.OK, "CUDA 13.0"),
        (Torch(None, ()), ["NVIDIA H100"], Status.WARNING, "a CPU build"),
        (Torch("CUDA 13.0", ()), ["NVIDIA H100"], Status.WARNING, "cannot use NVIDIA H100"),
        (Torch("CUDA 13.0", ()), None, Status.WARNING, "no GPU is seen"),
    ],
)
def test_the_build_of_torch(torch, driver, status, found):
    check = check_torch(torch, driver)[0]
    assert check.status is status and found in check.found
    assert bool(check.mend) == (status is Status.WARNING)


def test_gpus_are_named_with_their_memory():
    assert check_torch(Torch("CUDA 13.0", (CARD, CARD)), None)[1].found == (
        "2 x NVIDIA H100, 80 GB"
    )


@pytest.mark.parametrize(
    ("extra", "values", "named"),
    [
        ("lora", {"lora": {"rank": 8}}, "lora.rank=8"),
        ("vllm", {"rollout": {"sampler": "vllm"}}, "rollout.sampler=vllm"),
    ],
)
def test_an_absent_extra_is_a_problem_where_the_recipe_needs_it(monkeypatch, extra, values, named):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    assert check_extra(extra, Recipe()).status is Status.NOTE
    check = check_extra(extra, Recipe(**values))
    assert check.status is Status.PROBLEM and named in check.found
    assert check.mend == f"pip install 'toolrest[{extra}]'"
    monkeypatch.setattr(environment, "find_spec", lambda name: object())
    monkeypatch.setattr(environment, "check_extra_version", lambda package: ("1.0", None))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert check_extra(extra, Recipe(**values)).status is Status.OK


def test_vllm_as_sampler_without_a_gpu_is_a_problem(monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: object())
    monkeypatch.setattr(environment, "check_extra_version", lambda package: ("0.31.0", None))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check = check_extra("vllm", Recipe(rollout={"sampler": "vllm"}))
    assert check.status is Status.PROBLEM and "needs a GPU" in check.found
    assert check.mend == "leave rollout.sampler out"
    assert check_extra("vllm", Recipe()).status is Status.OK


def test_an_extra_of_another_version_is_a_problem_where_the_recipe_needs_it(monkeypatch):
    broken = Requirement("vllm>=0.22,<=0.31.0")
    monkeypatch.setattr(environment, "find_spec", lambda name: object())
    monkeypatch.setattr(environment, "check_extra_version", lambda package: ("0.32.0", broken))
    check = check_extra("vllm", Recipe())
    assert check.status is Status.WARNING and "0.32.0" in check.found and "TRL" in check.found
    assert check.mend == "pip install 'vllm<=0.31.0,>=0.22'"
    asked = check_extra("vllm", Recipe(rollout={"sampler": "vllm"}))
    assert asked.status is Status.PROBLEM and "rollout.sampler=vllm" in asked.found


def test_with_verl_trl_is_not_needed_and_its_own_checks_are_made(monkeypatch):
    known = environment.find_spec
    monkeypatch.setattr(
        environment, "find_spec", lambda name: None if name == "trl" else known(name)
    )
    recipe = Recipe(engine={"name": "verl"})
    checks = {check.name: check for check in environment.check_environment(recipe)}
    assert checks["trl"].status is Status.NOTE
    assert "extra verl" not in checks
    verl = {check.name: check for check in environment.check_verl_engine()}
    assert {"verl", "ray", "GPUs"} <= set(verl)
    assert all(check.mend for check in verl.values() if check.status is Status.PROBLEM)

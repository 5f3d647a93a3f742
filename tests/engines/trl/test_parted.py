"""Policies that two processes hold in parts: guarded, loaded, sampled from and saved."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from toolrest.engines.trl.gradients import CheckedGradients
from toolrest.engines.trl.parted import give_memory_back, loaded, local_part
from toolrest.errors import InputError
from toolrest.policy.finite import check_finite

HERE = Path(__file__).parent
IN_PARTS = ("clipped", "not clipped", "stopped")
COPIES = ("a copy each", "adapters")


def written(folder):
    """By each of two processes."""
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def in_processes(script, folder, *more, python=sys.executable, **variables):
    """What each of two new processes wrote."""
    done = subprocess.run(
        [
            *(python, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--master-port", "0", "--standalone", str(HERE / script), str(folder), *more),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": path_of_tests(), "OMP_NUM_THREADS": "1"} | variables,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return written(folder)


def path_of_tests():
    return os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="module")
def found(tmp_path_factory, forking):
    folder = tmp_path_factory.mktemp("parted")
    done = forking.run_file(
        HERE / "parted_in_processes.py", str(folder), cwd=folder, processes=2, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return written(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*IN_PARTS, *COPIES])
def test_a_gradient_that_is_not_finite_in_one_process_reaches_no_parameter_of_any(found, name):
    """Gradients clipped and accumulated, not clipped (max_grad_norm=0) and clipped to infinity."""
    for case in (each[name] for each in found):
        assert case["parted"] == (name in IN_PARTS)
        assert case["finite"] and case["kept in the first step"]
        assert case["raised"] == (name == "stopped")
        assert case["moved"] == (name != "stopped")  # by the step after it
        assert case["left out"] == ([] if name == "stopped" else [1.0, None])


@pytest.mark.slow
def test_one_process_loads_the_weights_and_each_has_its_part(found):
    first, second = (each["loading"] for each in found)
    assert first["whole"] == second["whole"] == first["held"] > 0
    assert second["held"] == 0
    # accelerate tells parameters apart by their addresses when it gives the optimiser their parts
    assert first["addresses"] == second["addresses"] == second["parameters"]
    assert first["name"] == second["name"] != ""  # by which TRL loads the policy of a KL term
    assert first["parted"] and second["parted"]
    assert first["part"] + second["part"] == first["whole"]
    assert first["equal"]


@pytest.mark.slow
def test_processes_sample_responses_of_other_lengths_in_step(found):
    for each, length in zip(found, (3, 7), strict=True):
        assert each["loading"]["sampled"] == length
        assert each["loading"]["forwards"] == 7  # gathers parameters until the last response ends
        assert each["loading"]["same tokens"]


@pytest.mark.slow
def test_a_policy_in_parts_is_saved_whole(found):
    assert found[0]["clipped"]["saved"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
@pytest.mark.parametrize("stage", [2, 3])
def test_a_gradient_that_is_not_finite_stops_deepspeed_before_its_step(stage, tmp_path):
    for found in in_processes("deepspeed_in_processes.py", tmp_path, str(stage)):
        assert found["optimizer"].startswith("DeepSpeedZeroOptimizer")
        assert found["raised"] and found["finite"] and found["kept"]
        assert found["steps"] == 1  # the one before the NaN, which moved the parameters
        assert found["moved"]
        assert found["whole"] == found["every"]
        assert found["held"] == (found["every"] if stage == 2 else 0)
        assert found["equal"]


class Engine:
    """DeepSpeed's, as far as accelerate and the guard use it; its optimiser steps inside."""

    def __init__(self, parameter, boundary=True):
        self.parameter, self.boundary, self.steps = parameter, boundary, 0
        self.optimizer = SimpleNamespace(
            has_overflow=lambda: not bool(parameter.grad.isfinite().all())
        )

    def set_gradient_accumulation_boundary(self, is_boundary):
        self.boundary = is_boundary

    def is_gradient_accumulation_boundary(self):
        return self.boundary

    def backward(self, loss):
        loss.backward()

    def step(self):
        self.steps += 1
        with torch.no_grad():
            self.parameter -= self.parameter.grad


class Below:
    """The part of transformers' trainer that computes a step."""

    is_deepspeed_enabled = True

    def training_step(self, model, loss, last=True):
        self.accelerator.deepspeed_engine_wrapped.backward(loss, sync_gradients=last)
        return loss.detach()


class Trained(CheckedGradients, Below):
    def __init__(self, engine, elsewhere=0.0):
        from accelerate.utils.deepspeed import DeepSpeedEngineWrapper

        self.accelerator = SimpleNamespace(
            device="cpu",
            deepspeed_engine_wrapped=DeepSpeedEngineWrapper(engine),
            reduce=lambda values, reduction: values + elsewhere,
        )

    def _gradient_not_finite(self, model):
        raise FloatingPointError


@pytest.mark.parametrize("elsewhere", [0.0, 1.0])
def test_deepspeed_s_engine_does_not_step_on_a_gradient_that_is_not_finite(elsewhere):
    """Of this process, or of another."""
    parameter = torch.nn.Parameter(torch.ones(2))
    engine = Engine(parameter)
    trainer = Trained(engine)
    trainer.training_step(engine, (2 * parameter).sum())
    assert engine.steps == 1 and parameter.tolist() == [-1.0, -1.0]
    trainer.accelerator.reduce = lambda values, reduction: values + elsewhere
    spoiled = (parameter * (1.0 if elsewhere else float("nan"))).sum()
    with pytest.raises(FloatingPointError):
        trainer.training_step(engine, spoiled)
    assert engine.steps == 1 and parameter.tolist() == [-1.0, -1.0]


def test_between_steps_deepspeed_s_gradients_are_not_looked_at():
    parameter = torch.nn.Parameter(torch.ones(2))
    engine = Engine(parameter)
    trainer = Trained(engine)
    trainer.training_step(engine, (parameter * float("inf")).sum(), last=False)
    assert engine.steps == 0
    with pytest.raises(FloatingPointError):
        trainer.training_step(engine, parameter.sum())


def test_an_optimiser_of_deepspeed_that_tells_nothing_is_refused():
    engine = Engine(torch.nn.Parameter(torch.ones(2)))
    engine.optimizer = torch.optim.SGD([engine.parameter])
    with pytest.raises(InputError, match=r"SGD does not tell .* set zero_stage"):
        Trained(engine).training_step(engine, engine.parameter.sum())
    assert engine.steps == 0


def test_what_a_process_holds_of_a_parameter_is_looked_at():
    empty = torch.nn.Parameter(torch.empty(0))
    empty.ds_tensor = torch.tensor([1.0, float("nan")])  # as ZeRO-3 leaves it
    assert local_part(empty) is empty.ds_tensor
    model = torch.nn.Module()
    model.weight = empty
    with pytest.raises(InputError, match="the weights weight have numbers that are not finite"):
        check_finite(model, "there", whole=False)
    empty.ds_tensor = torch.ones(2)
    check_finite(model, "there", whole=False)


def test_a_policy_is_loaded_when_it_is_asked_for(embedded_model):
    assert loaded(embedded_model) is embedded_model
    assert loaded(lambda: embedded_model) is embedded_model
    give_memory_back()

"""What the guards do with each kind of number, on a trainer that is made of its parts alone."""

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from toolrest.engines.common.incidents import NonFiniteError
from toolrest.engines.trl import guards
from toolrest.engines.trl.checkpoints import CheckpointTrainer
from toolrest.engines.trl.generation import Generation
from toolrest.engines.trl.guards import GuardedTrainer

NAN, INF = float("nan"), float("inf")


class Accelerator:
    """One process, or the first of two of which the other finds `elsewhere`."""

    device = "cpu"
    is_main_process = True

    def __init__(self, elsewhere=0.0, processes=1, index=0):
        self.elsewhere, self.num_processes, self.process_index = elsewhere, processes, index

    def reduce(self, values, reduction):
        assert reduction == "sum"
        return values + self.elsewhere


def guarded(rule="skip", accelerator=None, group=2, **state):
    trainer = object.__new__(GuardedTrainer)
    trainer.model = torch.nn.Linear(2, 2)
    trainer.accelerator = accelerator or Accelerator()
    trainer.non_finite = rule
    trainer.num_generations = group
    trainer.reward_funcs = [torch.nn.Linear(1, 1)]
    trainer.incidents = []
    trainer._on_incident = trainer.incidents.append
    trainer._batch = {}
    trainer._metrics = defaultdict(lambda: defaultdict(list))
    trainer.state = SimpleNamespace(global_step=7, log_history=[], **state)
    return trainer


IDS = torch.tensor([[4], [5], [6]])
"""Responses, of one token each."""


def rewarded(monkeypatch, rewards, trainer, prompts):
    monkeypatch.setattr(
        CheckpointTrainer, "_calculate_rewards", lambda *arguments: torch.tensor(rewards)
    )
    trainer._generation = Generation()
    found = trainer._calculate_rewards([], ["p"] * prompts, [], [[row] for row in range(prompts)])
    return found, trainer._generation.unscored


def test_a_group_with_a_response_without_a_reward_is_left_out(monkeypatch):
    """NaN in one of two rewards is one that does not apply; infinity, or NaN in both, is none."""
    trainer = guarded()
    rewards = [[1.0, 2.0], [NAN, 3.0], [NAN, NAN], [1.0, 1.0], [INF, 1.0], [1.0, -INF]]
    found, unscored = rewarded(monkeypatch, rewards, trainer, 6)
    assert found[2].tolist() == found[4].tolist() == found[5].tolist() == [0.0, 0.0]
    assert found[0].tolist() == [1.0, 2.0] and found[3].tolist() == [1.0, 1.0]
    assert found[1].isnan().tolist() == [True, False]
    assert unscored.tolist() == [False, False, True, True, True, True]
    [incident] = trainer.incidents
    assert (incident.step, incident.what) == (7, "reward")
    assert trainer._metrics["train"]["guards/not_finite"] == [1.0]


def test_rewards_that_are_numbers_leave_nothing_out(monkeypatch):
    trainer = guarded()
    _, unscored = rewarded(monkeypatch, [[1.0], [2.0]], trainer, 2)
    assert unscored is None
    assert not trainer.incidents and not trainer._metrics["train"]


@pytest.mark.parametrize("later", [False, True])
def test_a_response_that_every_function_left_out_is_no_fault(monkeypatch, later):
    """None of all functions is left to TRL; None of one and NaN of the other is none."""
    said = {"one": [None, None, 1.0, NAN], "other": [None, NAN, None, NAN]}

    def function(name):
        async def soon(completions):
            return said[name]

        return soon if later and name == "other" else lambda completions: said[name]

    def rewards_of(trainer, *arguments):
        columns = []
        for call in trainer.reward_funcs:
            found = call(completions=["c"] * 4)
            found = asyncio.run(found) if asyncio.iscoroutine(found) else found
            columns.append([NAN if value is None else value for value in found])
        return torch.tensor(columns).T

    monkeypatch.setattr(CheckpointTrainer, "_calculate_rewards", rewards_of)
    trainer = guarded()
    trainer.reward_funcs = functions = [function("one"), function("other")]
    trainer._generation = Generation()
    found = trainer._calculate_rewards([], ["p"] * 4, [], [])
    assert trainer.reward_funcs is functions
    assert found[0].isnan().all()
    assert found[1].tolist() == found[3].tolist() == [0.0, 0.0]
    assert trainer._generation.unscored.tolist() == [True, True, True, True]
    trainer._generation = Generation()
    said["one"], said["other"] = [None, None, 1.0, 2.0], [None, None, None, None]
    found = trainer._calculate_rewards([], ["p"] * 4, [], [])
    assert found.isnan().tolist() == [[True, True], [True, True], [False, True], [False, True]]
    assert trainer._generation.unscored is None and len(trainer.incidents) == 1


def test_a_process_leaves_out_its_own_rows(monkeypatch):
    """Two processes of two rows; the fault is in the first row of all, or in the last."""
    for place, expected in ((0, [False, False]), (3, [True, True])):
        rewards = [[1.0]] * 4
        rewards[place] = [INF]
        trainer = guarded(accelerator=Accelerator(processes=2, index=1))
        _, unscored = rewarded(monkeypatch, rewards, trainer, 2)
        assert unscored.tolist() == expected


def test_in_evaluation_rewards_are_not_looked_at(monkeypatch):
    trainer = guarded("stop")
    trainer.model.eval()
    found, unscored = rewarded(monkeypatch, [[NAN]], trainer, 1)
    assert found.isnan().all() and unscored is None and not trainer.incidents


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_rows_that_are_not_finite_become_0(bad):
    values = torch.ones(3, 2)
    values[1, 1] = bad
    trainer = guarded()
    found = trainer._finite_rows("weight", values, IDS)
    assert found.tolist() == [[1, 1], [0, 0], [1, 1]]
    [incident] = trainer.incidents
    assert incident.facts["completion_ids"] == [[4], [5], [6]]  # not those of the last forward
    assert incident.what == "weight" and list(incident.facts["tensors"]) == ["weight"]
    flat = torch.tensor([1.0, bad])
    assert guarded()._finite_rows("x", flat, IDS).tolist() == [1.0, 0.0]


def test_rows_that_are_finite_are_given_back_as_they_are():
    values = torch.ones(3, 2)
    trainer = guarded("stop")
    assert trainer._finite_rows("weight", values, IDS) is values
    assert not trainer.incidents


def test_a_fault_in_another_process_is_an_incident_here_too(monkeypatch):
    trainer = guarded(accelerator=Accelerator(elsewhere=1.0))
    ones = torch.ones(2, 2)
    assert torch.equal(trainer._finite_rows("weight", ones, IDS), ones)
    assert len(trainer.incidents) == 1
    monkeypatch.setattr(guards, "gather_object", lambda here: [*here, "layer.weight"])
    with pytest.raises(NonFiniteError) as caught:  # a part of a parameter that the other has
        trainer._finite_rows("weight", ones, IDS)
    assert caught.value.incident.facts["parameters_not_finite"] == ["layer.weight"]


class Stepping:
    """The part of transformers' trainer that the gradient's norm is asked of."""

    is_deepspeed_enabled = False
    args = SimpleNamespace(max_grad_norm=0.0)

    def _get_grad_norm(self, model, grad_norm=None):
        return self.norm if grad_norm is None else grad_norm


@pytest.fixture
def stepping(monkeypatch):
    monkeypatch.setattr(CheckpointTrainer, "_get_grad_norm", Stepping._get_grad_norm, False)


@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("norm", [NAN, INF, torch.tensor(NAN)])
def test_a_gradient_that_is_not_finite_is_dropped(stepping, norm, clipped):
    trainer = guarded()
    trainer.norm = norm
    told = ["advantages", "old_per_token_logps", "importance_sampling_ratio"]
    trainer._batch = dict.fromkeys([*told, "prompt_ids"], torch.ones(1))
    trainer._batch["completion_ids"] = torch.tensor([[4, 5]])
    trainer.model(torch.ones(1, 2)).sum().backward()
    given = norm if clipped else None
    assert trainer._get_grad_norm(trainer.model, grad_norm=given) is norm
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    [incident] = trainer.incidents
    assert incident.what == "loss or gradient"
    assert list(incident.facts["tensors"]) == told
    assert incident.facts["completion_ids"] == [[4, 5]]


def test_a_gradient_that_is_finite_stays(stepping):
    trainer = guarded("stop")
    trainer.model(torch.ones(1, 2)).sum().backward()
    assert trainer._get_grad_norm(trainer.model, grad_norm=3.0) == 3.0
    assert all(parameter.grad is not None for parameter in trainer.model.parameters())


def test_a_gradient_that_another_process_dropped_is_dropped_here(stepping):
    trainer = guarded(accelerator=Accelerator(elsewhere=1.0))
    trainer.model(torch.ones(1, 2)).sum().backward()
    trainer._get_grad_norm(trainer.model, grad_norm=3.0)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_an_incident_tells_the_last_five_steps_and_up_to_twenty_parameters():
    trainer = guarded("stop")
    trainer.model = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(12))
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.fill_(NAN)
    trainer.state.log_history = [{"loss": n, "grad_norm": 10 * n} for n in range(8)]
    with pytest.raises(NonFiniteError) as caught:
        trainer._incident("reward", {}, None)
    facts = caught.value.incident.facts
    assert facts["rule"] == "stop"
    assert facts["last_losses"] == [3, 4, 5, 6, 7]
    assert facts["last_gradient_norms"] == [30, 40, 50, 60, 70]
    assert facts["parameters_not_finite"] == [
        f"{n}.{kind}" for n in range(10) for kind in ("weight", "bias")
    ]
    assert facts["completion_ids"] is None


def test_an_incident_stops_the_run_or_goes_on_by_the_rule():
    for rule in ("stop", "skip"):
        trainer = guarded(rule)
        if rule == "stop":
            with pytest.raises(NonFiniteError, match="a weight of step 8 is not finite"):
                trainer._incident("weight", {}, None)
            assert not trainer._metrics["train"]
        else:
            trainer._incident("weight", {}, None)
            assert trainer._metrics["train"]["guards/not_finite"] == [1.0]
        [incident] = trainer.incidents
        assert incident.facts["rule"] == rule
        assert incident.facts["parameters_not_finite"] == []


def test_only_the_first_process_tells_of_an_incident():
    trainer = guarded()
    trainer.accelerator.is_main_process = False
    trainer._incident("reward", {}, None)
    assert trainer.incidents == []
    assert trainer._metrics["train"]["guards/not_finite"] == [1.0]


@pytest.mark.parametrize("rule", ["stop", "skip"])
def test_a_parameter_that_is_not_finite_stops_by_any_rule_and_is_not_saved(monkeypatch, rule):
    saved = []
    monkeypatch.setattr(CheckpointTrainer, "_save_checkpoint", lambda *a: saved.append(1), False)
    trainer = guarded(rule)
    trainer._save_checkpoint(trainer.model, None)
    assert saved == [1]
    with torch.no_grad():
        trainer.model.weight[0, 0] = INF
    with pytest.raises(NonFiniteError):
        trainer._save_checkpoint(trainer.model, None)
    assert saved == [1]
    assert [incident.what for incident in trainer.incidents] == ["parameter"]

"""The parts of the TRL engine that count, on a trainer that is made of them alone."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer
from trl.trainer.sft_config import SFTConfig

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, get_scheme
from toolrest.engines.common.entropy import EntropyTracker, StartEntropy
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.prefix.trainer import Scored
from toolrest.engines.trl.sft import RegionSFTTrainer
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

F, N, T = Region.FORMAT, Region.NAME, Region.REASONING


class Accelerator:
    """One process, or the first of two that have the same."""

    device = "cpu"

    def __init__(self, processes=1, main=True):
        self.processes, self.is_main_process = processes, main

    def reduce(self, values, reduction):
        assert reduction == "sum"
        return values * self.processes


def trainer(scheme="rest", source="online", processes=1, main=True, **config):
    made = object.__new__(ResTTrainer)
    made.model = torch.nn.Linear(1, 1)
    made.accelerator = Accelerator(processes, main)
    made.scheme = get_scheme(scheme)
    made.config = SimpleNamespace(**{"clip_by": "none", "llds": 0.0} | config)
    made.state = SimpleNamespace(global_step=3, max_steps=12)
    made.entropy = EntropyTracker(source, decay=0.75)
    made.start = StartEntropy()
    made.signal = None
    made._logged = made._logged_entropy = RegionEntropy.zero()
    made.tools = []
    made._recording = None
    made._entropy_bonus_enabled = False
    made.shares_prefixes = False
    made._metrics = {"train": defaultdict(list)}
    return made


def entropy(mean, count=4.0):
    total, counts = torch.zeros(6).double(), torch.zeros(6).double()
    total[F], counts[F] = mean * count, count
    return RegionEntropy(total, counts)


def scored(values):
    return Scored(torch.zeros_like(values), values, None)


def region_entropy(made, values):
    regions, mask = torch.full(values.shape, F), torch.ones(values.shape).bool()
    return made._region_entropy({}, regions, mask, scored(values))


def test_progress_is_the_share_of_the_steps():
    made = trainer()
    assert made._progress() == 0.25
    made.state.max_steps = 0
    assert made._progress() == 3.0


@pytest.mark.parametrize(
    ("accumulation", "generations", "iterations", "vllm", "correction", "expected"),
    [
        (4, 4, 1, False, False, False),
        (8, 4, 1, False, False, False),
        (2, 4, 1, False, False, True),
        (4, 4, 2, False, False, True),
        (8, 4, 2, False, False, False),
        (3, None, 1, False, False, False),
        (3, None, 2, False, False, True),
        (4, 4, 1, True, True, True),
        (4, 4, 1, True, False, False),
        (4, 4, 1, False, True, False),
    ],
)
def test_when_the_old_policy_s_forward_is_there_anyway(
    accumulation, generations, iterations, vllm, correction, expected
):
    made = trainer(gradient_accumulation_steps=accumulation, steps_per_generation=generations)
    made.num_iterations = iterations
    made.use_vllm = vllm
    made.vllm_importance_sampling_correction = correction
    assert made._runs_old_forward() is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Rollouts of 1, 3 and 5 over as many tokens, with a decay of 3/4: (3 * 1 + 3) / 4, then
        # (3 * 1.5 + 5) / 4. The rollouts that are weighed count already.
        ("online", [1.0, 1.5, 2.375]),
        ("static", [1.0, 1.0, 1.0]),
        ("exact", [1.0, 3.0, 5.0]),
    ],
)
def test_the_entropies_of_each_source_by_hand(monkeypatch, source, expected):
    made = trainer(source=source)
    measured = iter([torch.tensor([[value] * 4]) for value in (1.0, 3.0, 5.0)])
    monkeypatch.setattr(ResTTrainer, "_score_rollouts", lambda made, output: scored(next(measured)))
    regions, mask = torch.full((1, 4), F), torch.ones(1, 4).bool()
    found = []
    for step in (0, 2, 4):
        made.state.global_step = step
        found.append(made._region_entropy({}, regions, mask, None).mean[F].item())
    assert found == pytest.approx(expected)
    assert len(list(measured)) == (2 if source == "static" else 0)  # which measures once


def test_a_scheme_that_reads_no_entropy_gets_none():
    assert region_entropy(trainer("uniform"), torch.ones(1, 1)) is None


def test_online_entropies_are_those_of_all_processes():
    made = trainer(processes=2)
    made.entropy.add(1, entropy(1.0))
    found = region_entropy(made, torch.full((1, 4), 3.0))
    # 0.75 of 4 tokens of 1 nat, 0.25 of 8 of 3
    assert found.mean[F].item() == pytest.approx((3 + 6) / (3 + 2))


def test_measured_entropies_are_those_of_the_counted_tokens():
    made = trainer()
    regions = torch.tensor([[F, N, F]])
    mask = torch.tensor([[True, True, False]])
    found = made._measure(scored(torch.tensor([[1.0, 2.0, 9.0]])), regions, mask)
    assert (found.total[F], found.count[F], found.total[N]) == (1.0, 1.0, 2.0)


def test_rollouts_are_scored_by_one_forward_without_gradient():
    made = trainer(per_device_train_batch_size=3)
    calls = []

    def forward(model, ids, attention, keep, **keywords):
        assert model is made.model and not torch.is_grad_enabled()
        calls.append((ids.tolist(), attention.tolist(), keep, keywords))
        made._recording.scored = scored(torch.tensor([[5.0, 6.0]]))

    made._get_per_token_logps_and_entropies = forward
    output = {
        "prompt_ids": torch.tensor([[7]]),
        "prompt_mask": torch.tensor([[1]]),
        "completion_ids": torch.tensor([[8, 9]]),
        "completion_mask": torch.tensor([[1, 0]]),
    }
    assert made._score_rollouts(output).entropies.tolist() == [[5.0, 6.0]]
    assert calls == [([[7, 8, 9]], [[1, 1, 0]], 2, {"batch_size": 3, "compute_entropy": True})]
    assert made._recording is None


def test_weights_are_logged_by_region_by_hand():
    """Two responses of advantages 2 and -1; a masked token counts nowhere."""
    made = trainer(processes=2)
    regions = torch.tensor([[F, T, T], [F, N, T]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    weights = torch.tensor([[0.5, 1.0, 1.5], [2.0, 1.0, 0.0]])
    made._log_weights(regions, mask, weights, torch.tensor([2.0, -1.0]))
    found = {name: values for name, values in made._metrics["train"].items() if values != [0.0]}
    # signals: FORMAT 0.5 * 2 + 2, REASONING 2 + 3, NAME 1
    assert found == {
        "share/format": [pytest.approx(2 / 5)],
        "share/name": [pytest.approx(1 / 5)],
        "share/reasoning": [pytest.approx(2 / 5)],
        "weight/format": [pytest.approx(1.25)],
        "weight/name": [pytest.approx(1.0)],
        "weight/reasoning": [pytest.approx(1.25)],
        "signal/format": [pytest.approx(3 / 9)],
        "signal/name": [pytest.approx(1 / 9)],
        "signal/reasoning": [pytest.approx(5 / 9)],
    }


def test_entropies_are_logged_since_the_last_log_and_in_training_alone(monkeypatch):
    logged = []
    monkeypatch.setattr(GRPOTrainer, "log", lambda self, logs, start: logged.append(logs))
    made = trainer(processes=2)
    made._logged = entropy(0.7)
    made.log({"a": 1.0})
    assert dict(made._metrics["train"]) == {"entropy/format": [pytest.approx(0.7)]}
    made.log({"a": 2.0})
    assert len(made._metrics["train"]["entropy/format"]) == 1
    made.model.eval()
    made._logged = entropy(0.9)
    made.log({"a": 3.0})
    assert len(made._metrics["train"]["entropy/format"]) == 1
    assert made._logged.count.any()
    assert logged == [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}]
    for scheme, options, name in (
        ("uniform", {}, "entropy"),
        ("rest", {}, "entropy"),
        ("rest", {"rule": "collision"}, "collision"),
    ):
        other = trainer()
        other.scheme = get_scheme(scheme, **options)
        other._logged = entropy(0.2, count=1.0)
        other.log({})
        assert dict(other._metrics["train"]) == {f"{name}/format": [pytest.approx(0.2)]}


def test_the_state_goes_on_in_every_process():
    made = trainer(processes=2)
    assert made.extra_state()["followed"] is None
    made.entropy.add(1, entropy(1.0))
    made.entropy.add(2, entropy(3.0))
    state = made.extra_state()
    assert (state["step"], state["followed"]["count"][F]) == (2, 4)
    for main in (True, False):
        resumed = trainer(main=main)
        resumed.take_state(state)
        assert resumed.extra_state() == state
        now = resumed.entropy.add(3, entropy(5.0))
        assert now.mean[F] == pytest.approx(0.75 * 1.5 + 0.25 * 5)  # (3 * 1 + 3) / 4 = 1.5 before
    fresh = trainer()
    fresh.take_state({"followed": None, "window": entropy(1.0).to_lists()})  # as written once
    assert fresh.extra_state() == {"step": 0, "followed": None, "start": None}


def test_statistics_are_caught_once_and_only_where_asked(monkeypatch):
    calls = []

    def parent(self, model, ids, attention, keep, *rest, **keywords):
        calls.append(keywords)
        return torch.zeros(1, 2), torch.full((1, 2), float(len(calls))), None

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", parent)
    made = trainer()
    made._get_per_token_logps_and_entropies(None, None, None, 2)
    assert calls[-1] == {}
    with made._record() as forward:
        for _ in range(2):
            made._get_per_token_logps_and_entropies(None, None, None, 2)
    assert forward.scored.entropies.tolist() == [[2.0, 2.0]]  # the first of the two
    assert calls[1] == {"compute_entropy": True}
    assert calls[2] == {}


def test_collisions_are_caught_for_the_response_s_tokens(monkeypatch):
    made = trainer()
    made.scheme = get_scheme("rest", rule="collision")

    def parent(self, *arguments, **keywords):
        made._add_collisions(torch.tensor([[1.0, 2.0, 3.0]]))
        made._add_collisions(torch.tensor([[4.0, 5.0, 6.0]]))
        return torch.zeros(2, 2), torch.zeros(2, 2), None

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", parent)
    with made._record() as forward:
        for _ in range(2):  # the second is not recorded
            made._get_per_token_logps_and_entropies(None, None, None, 2)
    assert forward.scored.collisions.tolist() == [[2.0, 3.0], [5.0, 6.0]]
    found = made._measure(forward.scored, torch.full((2, 2), F), torch.ones(2, 2).bool())
    assert found.mean[F] == 4.0


@pytest.mark.parametrize("tools", [False, True])
def test_a_training_forward_is_measured_and_an_evaluation_is_not(monkeypatch, tools):
    made = trainer()

    def loss(self, model, given):
        assert model is made.model and given is inputs
        if self.model.training:
            self._recording.scored = scored(torch.tensor([[1.0, 2.0, 4.0]]))
        else:
            assert self._recording is None
        return "loss"

    monkeypatch.setattr(
        "toolrest.engines.trl.prefix.trainer.PrefixSharingTrainer._compute_loss", loss
    )
    inputs = {
        "completion_mask": torch.tensor([[1, 1, 0]]),
        "regions": torch.tensor([[F, F, F]]),
    }
    if tools:
        inputs["tool_mask"] = torch.tensor([[0, 1, 1]])
    for _ in range(2):
        assert made._compute_loss(made.model, inputs) == "loss"
    counted, total = (1, 2.0) if tools else (2, 3.0)
    assert (made._logged.count[F], made._logged.total[F]) == (2 * counted, 2 * total)
    made.model.eval()
    assert made._compute_loss(made.model, inputs) == "loss"
    assert made._logged.count[F] == 2 * counted


@pytest.mark.parametrize("adapted", [False, True])
def test_the_head_returns_collisions_as_it_computes_probabilities(monkeypatch, adapted):
    """At the sampling temperature, in the precision that was asked for; 1 - sum p^2 is kept."""
    told = {}
    monkeypatch.setattr(
        "toolrest.engines.trl.measuring.add_fused_lm_head",
        lambda base, **options: told.update(options, base=base),
    )
    made = trainer(cast_lm_head_to_fp32=True)
    made.temperature = 0.7
    made.accelerator.unwrap_model = lambda model: model

    class Policy(torch.nn.Module):
        def forward(self, values):
            return SimpleNamespace() if values is None else SimpleNamespace(log_sum_sq_probs=values)

    base = made.model = Policy()
    if adapted:
        made.model = Policy()
        made.model.get_base_model = lambda: base
    made._return_collisions()
    assert told == {
        "base": base,
        "temperature": 0.7,
        "cast_lm_head_to_fp32": True,
        "outputs": ("log_probs", "entropy", "log_sum_sq_probs"),
    }
    squares = torch.tensor([[0.25, 1.0]], requires_grad=True)
    base(squares.log())
    with made._record() as forward:
        base(None)  # as transformers' own head, which samples
        base(squares.log())
    [found] = forward.collisions
    assert found.tolist() == [[pytest.approx(0.75), 0.0]]
    assert not found.requires_grad


def test_marks_that_are_special_tokens_are_text(tmp_path):
    """As in the vocabularies of models that are trained to call tools."""
    tokenizer = load_tokenizer(Recipe())
    marks = ["<think>", "</think>", "<tool_call>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    options = {
        **{"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "bf16": False},
        **{"per_device_train_batch_size": 2, "gradient_checkpointing": False},
    }
    made = ResTTrainer(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=Dataset.from_list([{"prompt": "p", "ground_truth": "g"}] * 2),
        args=ResTConfig(num_generations=2, **options),
    )
    taught = RegionSFTTrainer(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"input_ids": [1, 2], "labels": [1, 2]}]),
        args=SFTConfig(max_length=None, **options),
        scales={},
        speech=read_speech(tokenizer, get_dialect("rlla")),
    )
    read = (made.vocabulary, taught.speech.vocabulary)
    for vocabulary in read:
        ids = tokenizer.convert_tokens_to_ids(marks)
        assert vocabulary.text([*ids, tokenizer.pad_token_id]) == "".join(marks)

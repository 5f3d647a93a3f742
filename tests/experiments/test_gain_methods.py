"""Methods as coefficients of a step, gradients of a real policy, and the command."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.experiments.gain_gradients import PromptGradients, group_logits
from toolrest.experiments.gain_methods import (
    check_targets,
    coefficients,
    read_gain_methods,
    target_credit,
)
from toolrest.experiments.gain_rank import rank_correlation
from toolrest.experiments.trajectories import sample_responses
from toolrest.recipe import Recipe, load_recipe
from toolrest.world.tasks import Split, make_samples

SETTINGS = ["rollout.group_size=3", "rollout.max_response_tokens=70"]


@pytest.fixture(scope="module")
def measured(embedded_tokenizer):
    """The embedded policy's gradients of three prompts with three responses each."""
    from toolrest.policy.weights import load_policy

    recipe = load_recipe(None, SETTINGS)
    model = load_policy(Recipe())
    model.eval()
    samples = make_samples(Split.TRAIN, 3, 0)
    responses = sample_responses(model, embedded_tokenizer, samples, recipe, 0)
    source = PromptGradients(model, responses, 1.0)
    return recipe, model, source, source.sampled()


def test_a_shared_prompt_gives_the_logits_of_whole_sequences(measured):
    _, model, _, sampled = measured
    responses = sampled.responses
    prompt = torch.tensor(responses.prompts[1])
    with torch.no_grad():
        found = group_logits(model, prompt, sampled.ids[3:6])
        for row in range(3):
            whole = torch.cat((prompt, torch.tensor(responses.ids[3 + row])))
            plain = model(input_ids=whole[None]).logits[0, len(prompt) - 1 : -1]
            assert torch.allclose(found[row, : len(plain)], plain, atol=1e-4)


def test_parts_add_up_to_the_gradient_of_the_plain_loss(measured):
    recipe, model, source, sampled = measured
    method = read_gain_methods(recipe, "rest")[1]
    wanted, regions = coefficients(method, sampled, 0.0, 3)
    store = torch.empty(len(Region), 3, source.size)
    source.fill(store, wanted, regions)
    for prompt in range(3):
        start, loss = torch.tensor(sampled.responses.prompts[prompt]), torch.zeros(())
        for row in range(3 * prompt, 3 * prompt + 3):
            ids = torch.tensor(sampled.responses.ids[row])
            logits = model(input_ids=torch.cat((start, ids))[None]).logits[0]
            logps = torch.log_softmax(logits[len(start) - 1 : -1], -1)
            chosen = logps.gather(1, ids[:, None])[:, 0]
            assert torch.allclose(-chosen.double(), sampled.surprisal[row, : len(ids)], atol=1e-4)
            loss = loss + (wanted[row, : len(ids)].float() * chosen).sum()
        plain = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, model.parameters())])
        assert torch.allclose(store[:, prompt].sum(0), plain, atol=1e-4)


def test_equal_weights_are_the_advantage_over_the_length(measured):
    recipe, _, _, sampled = measured
    grpo, drgrpo = read_gain_methods(recipe, "grpo,dr_grpo")
    wanted, _ = coefficients(grpo, sampled, 0.0, 3)
    lengths = sampled.mask.sum(1)
    advantages = wanted.sum(1)
    assert torch.allclose(wanted, torch.where(sampled.mask, (advantages / lengths)[:, None], 0.0))
    assert torch.allclose(advantages.view(3, 3).sum(1), torch.zeros(3).double(), atol=1e-6)
    whole, _ = coefficients(drgrpo, sampled, 0.0, 3)
    row = int(advantages.abs().argmax())
    assert whole[row, 0] != 0
    assert torch.equal(whole[row][sampled.mask[row]].unique(), whole[row, :1])


def test_every_scheme_leaves_a_response_s_sum_and_actions_have_no_reasoning(measured):
    recipe, _, _, sampled = measured
    names = "grpo,rest,rest@0.5,official,gtpo,actions,stare,contrast,top_entropy,rest_collision"
    grpo, *others = read_gain_methods(recipe, names)
    plain, _ = coefficients(grpo, sampled, 0.0, 3)
    for method in others:
        wanted, regions = coefficients(method, sampled, 0.0, 3)
        if method.name not in ("official", "rest@0.5"):  # whose rewards are on other schedules
            assert torch.allclose(wanted.sum(1), plain.sum(1), atol=1e-5), method.name
        if method.name == "actions":
            assert not wanted[regions == Region.REASONING].any()


def test_the_target_s_credit_by_hand(measured):
    """(Y_i - mean of the two others) / 3, which adds up to 0 over a group."""
    recipe, _, _, sampled = measured
    for target in ("reward", "exact"):
        credit, mean = target_credit(sampled, recipe, target)
        assert torch.allclose(credit.view(3, 3).sum(1), torch.zeros(3).double(), atol=1e-9)
        assert -6 <= mean <= 6
    exact, mean = target_credit(sampled, recipe, "exact")
    for group in exact.view(3, 3):
        assert sorted({round(abs(float(v)) * 6) for v in group} - {0, 1, 2}) == []
    assert 0 <= mean <= 1


@pytest.mark.parametrize(
    ("settings", "methods", "says"),
    [
        ((), "dapo", "clip_epsilon_high"),
        ((), "sft_grpo", "warm_start.method=sft changes nothing"),
        ((), "rest_static", "weighting.entropy_source=static changes nothing"),
        ((), "rest_kl", "optimizer.beta=0.003 changes nothing"),
        ((), "rest@2", "from 0 to 1"),
        ((), "rest@x", "from 0 to 1"),
        ((), "rest,rest", "given twice"),
        ((), "nobody", "nobody"),
        ((), "signal", "method signal: it weighs by gradients of its run's batches"),
        ((), "grpo:optimizer.loss=bnpo", "optimizer.loss=bnpo"),
        (("environment.source=world",), "rest", "environment.source=world"),
        (("optimizer.mask_truncated=true",), "rest", "optimizer.mask_truncated"),
        (("rollout.branches=2", "advantage.credit=forks"), "rest", "rollout.branches=2"),
        (("lora.rank=2", "lora.dropout=0.1"), "rest", "lora.dropout=0.1"),
    ],
)
def test_what_a_fixed_policy_cannot_show_is_refused_by_name(settings, methods, says):
    with pytest.raises(InputError, match=says):
        read_gain_methods(load_recipe(None, list(settings)), methods)


@pytest.mark.parametrize("written", ["", "rewards", "exact,exact"])
def test_targets_that_are_none_are_refused(written):
    with pytest.raises(InputError, match="reward, exact"):
        check_targets(written)


def test_rankings_by_hand():
    """Ranks 1 2 3 against 1 3 2: 1 - 6 * 2 / (3 * 8) = 0.5; of equal gains there is none."""
    gains = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    trained = np.array([[0.1], [0.3], [0.2]])
    assert rank_correlation(gains, trained).value == pytest.approx(0.5)
    assert np.isnan(rank_correlation(np.ones((3, 4)), trained).value)
    seeds = np.array([[0.0, 0.2], [0.5, 0.1], [0.6, 0.7]])
    many = rank_correlation(np.repeat(gains[:, :1], 400, axis=1), seeds)
    assert (many.value, many.low, many.high) == pytest.approx((1.0, 0.5, 1.0))


FAST = [*SETTINGS, "--prompts", "8", "--group", "2", "--batch", "2"]


@pytest.mark.slow
def test_the_command_writes_every_figure(tmp_path):
    output = tmp_path / "gain.json"
    words = ["gain", *FAST, "--methods", "rest", "--target", "reward", "--output", str(output)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(output.read_text()).values()
    reward = found["targets"]["reward"]
    assert [row["method"] for row in reward["methods"]] == ["grpo", "rest"]
    for row in reward["methods"]:
        for step in ("sgd", "adam"):
            gain, parts = row[step]["gain"], row[step]["regions"].values()
            assert gain["low"] <= gain["value"] <= gain["high"]
            assert sum(p["value"] for p in parts) == pytest.approx(gain["value"], abs=1e-6)
    assert "headroom" in done.output


@pytest.mark.slow
def test_adapters_are_measured_by_their_b_alone(tmp_path):
    output = tmp_path / "gain.json"
    words = ["gain", *FAST, "lora.rank=2", "lora.target_modules=q_proj", "--methods", "grpo"]
    done = CliRunner().invoke(app, [*words, "--target", "exact", "--output", str(output)])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(output.read_text()).values()
    from toolrest.policy.weights import load_config

    config = load_config(Recipe())
    width = config.num_attention_heads * config.head_dim
    assert found["parameters"] == 2 * config.num_hidden_layers * width


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--prompts", "8", "--batch", "9"], "fewer than the 9 of one step"),
        (["--prompts", "4000"], "may be used; use --prompts"),
        (["--target", "length"], "--target length"),
        (["--against", "nowhere"], "no comparison is there"),
        (["--run", "nowhere"], "--run nowhere"),
    ],
)
def test_wrong_input_is_one_line(words, says):
    done = CliRunner().invoke(app, ["gain", *words])
    assert done.exit_code != 0
    assert says in " ".join(done.output.split())


@pytest.mark.parametrize("more", [(), ("engine=verl",)])
def test_adapters_without_their_package_are_one_line(monkeypatch, more):
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: None)
    found = CliRunner().invoke(app, ["gain", "lora.rank=2", *more])
    assert found.exit_code == 2 and found.exception.__class__ is SystemExit
    assert "lora.rank=2 needs peft, which is not here: pip install" in found.output

"""NaN in a reward, a weight, a gradient or a parameter: stopped or left out, and recorded."""

import json
from dataclasses import replace

import pytest
import torch
from jobs import make_job
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.weights.rest import Rest
from toolrest.engines.common.incidents import NonFiniteError
from toolrest.engines.trl import rollout as trl_rollout
from toolrest.engines.trl.launch import train_with_trl
from toolrest.engines.trl.trainer import ResTTrainer
from toolrest.policy.weights import load_policy
from toolrest.recipe import load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.world.tasks import Split, make_samples

SMALL = (
    "max_steps=3",
    "save_steps=1",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_response_tokens=48",
    "evaluation.samples=0",
)
NAN = float("nan")


def once(step, spoil):
    """A method that spoils what it is given at one step, before the real one goes on."""
    done = []

    def spoiled(trainer, *arguments):
        if trainer.state.global_step == step and not done:
            done.append(step)
            spoil(trainer, *arguments)

    return spoiled


def spoil_gradients(monkeypatch, spoil):
    real = ResTTrainer._clip_grad_norm
    at_step = once(1, spoil)

    def clip(trainer, model):
        at_step(trainer, model)
        return real(trainer, model)

    monkeypatch.setattr(ResTTrainer, "_clip_grad_norm", clip)


def gradient(monkeypatch):
    def spoil(trainer, model):
        next(model.parameters()).grad.view(-1)[7] = NAN

    spoil_gradients(monkeypatch, spoil)


def parameter(monkeypatch):
    def spoil(trainer, model):
        with torch.no_grad():
            next(model.parameters()).view(-1)[7] = NAN

    spoil_gradients(monkeypatch, spoil)


def weight(monkeypatch):
    real, calls = Rest.__call__, []

    def weigh(scheme, *arguments, **keywords):
        weights = real(scheme, *arguments, **keywords)
        calls.append(1)
        if len(calls) == 2:
            weights[0, 0] = NAN
        return weights

    monkeypatch.setattr(Rest, "__call__", weigh)


def reward(monkeypatch):
    from toolrest.engines.common.reward import ToolReward

    real, calls = ToolReward._scored, []

    def score(tool_reward, *arguments, **keywords):
        found = real(tool_reward, *arguments, **keywords)
        calls.append(1)
        return replace(found, total=NAN) if len(calls) == 12 else found

    monkeypatch.setattr(ToolReward, "_scored", score)


def train(folder, tokenizer, rule):
    recipe = load_recipe(None, [*SMALL, f"guards.non_finite={rule}"])
    model = load_policy(recipe)
    job = make_job(recipe, folder, tokenizer, make_samples(Split.TRAIN, 8))
    return job.run, model, train_with_trl(job, model, lambda _: None)


FAULTS = [
    (gradient, "loss or gradient"),
    pytest.param(weight, "weight", marks=pytest.mark.slow),
    pytest.param(reward, "reward", marks=pytest.mark.slow),
    (parameter, "parameter"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "what"), FAULTS)
def test_a_number_that_is_none_stops_the_run(
    tmp_path, embedded_tokenizer, monkeypatch, fault, what
):
    fault(monkeypatch)
    with pytest.raises(NonFiniteError, match=f"a {what} of step [23] is not finite"):
        train(tmp_path, embedded_tokenizer, "stop")
    run = RunFolder(tmp_path)
    (path,) = run.incidents.iterdir()
    incident = json.loads(path.read_text())
    assert incident["what"] == what
    assert incident["facts"]["rule"] == "stop"
    assert incident["facts"]["tensors"] or what == "parameter"
    assert bool(incident["facts"]["parameters_not_finite"]) == (what == "parameter")
    last = run.last_checkpoint()
    assert last is not None
    assert last.name == "checkpoint-1"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "what"), FAULTS[:3])
def test_a_number_that_is_none_is_left_out(tmp_path, embedded_tokenizer, monkeypatch, fault, what):
    fault(monkeypatch)
    run, model, steps = train(tmp_path, embedded_tokenizer, "skip")
    assert steps == 3
    assert all(value.isfinite().all() for value in model.parameters())
    (path,) = run.incidents.iterdir()
    assert json.loads(path.read_text())["what"] == what
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line.get("guards/not_finite") for line in lines] == [None, 1.0, None]


@pytest.mark.slow
def test_a_parameter_that_is_none_stops_by_any_rule(tmp_path, embedded_tokenizer, monkeypatch):
    parameter(monkeypatch)
    with pytest.raises(NonFiniteError):
        train(tmp_path, embedded_tokenizer, "skip")


def toolrest(*arguments):
    return CliRunner().invoke(app, ["train", *arguments, "--quiet"])


@pytest.mark.slow
def test_memory_that_runs_out_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real, calls = trl_rollout.sample, []

    def sample(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return real(*arguments, **keywords)

    monkeypatch.setattr(trl_rollout, "sample", sample)
    found = toolrest(*SMALL, "name=small")
    assert found.exit_code == 2
    assert found.stderr == (
        "toolrest: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB.); lower "
        "optimizer.micro_batch (now 8) or rollout.vllm.memory, or set "
        "optimizer.gradient_checkpointing=true, then go on with: toolrest train --resume "
        "runs/small\n"
    )
    found = toolrest("--resume", "runs/small", "optimizer.micro_batch=4")
    assert found.exit_code == 0, found.stderr
    assert load_recipe(tmp_path / "runs/small/recipe.yaml", []).optimizer.micro_batch == 4


def test_a_resumed_run_may_not_become_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("seed: 3\n")
    found = toolrest("--resume", "runs/mine", "optimizer.learning_rate=1")
    assert found.exit_code == 2
    assert "only guards, optimizer.micro_batch" in found.stderr
    assert (run / "recipe.yaml").read_text() == "seed: 3\n"


def test_the_recipe_of_a_run_in_training_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "runs" / "mine")
    run.path.mkdir(parents=True)
    run.recipe.write_text("seed: 3\n")
    with run.held():
        found = toolrest("--resume", "runs/mine", "optimizer.micro_batch=4")
    assert found.exit_code == 2
    assert "another process is training there" in found.stderr
    assert run.recipe.read_text() == "seed: 3\n"


@pytest.mark.slow
def test_a_reward_function_that_fails_can_be_mended(tmp_path, monkeypatch, forking):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "calls = []\n"
        "def polite(completions, **columns):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 2:\n"
        "        raise ValueError('no')\n"
        "    return [0.1 * len(calls)] * len(completions)\n"
    )

    words = (*SMALL, "name=mine", f"reward.function={mine}:polite", "--quiet")
    found = forking.run("train", *words, cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr == (
        "toolrest: the reward function polite raised ValueError: no; mend it, then go on with: "
        "toolrest train --resume runs/mine --trust-remote-code --accept-changed-data "
        "(guards.reward_error=skip goes on without it)\n"
    )
    mine.write_text("def polite(completions, **columns):\n    return [0.1] * len(completions)\n")
    monkeypatch.chdir(tmp_path)
    trusted = ("--trust-remote-code", "--accept-changed-data", "--quiet")
    found = CliRunner().invoke(app, ["train", "--resume", "runs/mine", *trusted])
    assert found.exit_code == 0, found.stderr
    lines = (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert json.loads(lines[-1])["rewards/polite/mean"] == pytest.approx(0.1)

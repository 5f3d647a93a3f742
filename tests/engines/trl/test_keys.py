"""Each key of a recipe's training, in runs of TRL."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jobs import make_job

from toolrest.engines.trl.launch import train_with_trl, trl_config
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import load_recipe
from toolrest.world.tasks import Split, make_samples

SMALL = (
    *("max_steps=2", "save_steps=2", "rollout.prompts_per_step=2", "rollout.group_size=4"),
    *("rollout.max_response_tokens=128", "optimizer.learning_rate=1e-3"),
)
EXTRAS = Path(sys.prefix) / "reporters" / "bin" / "python"
"""An environment with TensorBoard, W&B, Trackio and bitsandbytes."""
needs_extras = pytest.mark.skipif(
    not EXTRAS.is_file(),
    reason="scripts/add_tools.sh makes an environment with reporters and bitsandbytes",
)


def told(tmp_path, *overrides):
    return trl_config(load_recipe(None, list(overrides)), tmp_path / "run" / "checkpoints")


def trained(folder, tokenizer, *overrides, policy=None):
    """(metrics by step, the policy's parameters after it) of a small run."""
    recipe = load_recipe(None, [*SMALL, *overrides])
    folder.mkdir(exist_ok=True)
    job = make_job(recipe, folder, tokenizer, make_samples(Split.TRAIN, 8))
    model = policy or load_policy(recipe)
    train_with_trl(job, model, lambda _: None)
    rows = [json.loads(line) for line in job.run.metrics.read_text().splitlines()]
    return rows, {name: value.detach().clone() for name, value in model.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_usual_values_are_those_of_before(tmp_path):
    config = told(tmp_path)
    assert (config.lr_scheduler_type, config.warmup_steps, config.weight_decay) == (
        "constant",
        0,
        0,
    )
    assert (config.beta, config.optim) == (0, "adamw_torch_fused")
    assert (config.top_p, config.top_k, config.min_p) == (1.0, 0, None)
    assert config.reward_weights is None and not config.mask_truncated_completions


def test_each_key_is_told_to_trl(tmp_path):
    config = told(
        tmp_path,
        *("optimizer.schedule=cosine", "optimizer.warmup_steps=3", "optimizer.weight_decay=0.1"),
        *("optimizer.beta=0.003", "optimizer.name=paged_adamw_8bit"),
        *("optimizer.mask_truncated=true", "rollout.top_p=0.9", "rollout.top_k=40"),
        *(
            "rollout.min_p=0.02",
            "optimizer.iterations=2",
            "optimizer.clip_by=region_entropy",
            "optimizer.llds=0.1",
        ),
    )
    assert (config.lr_scheduler_type, config.warmup_steps) == ("cosine", 3)
    assert (config.weight_decay, config.beta) == (0.1, 0.003)
    assert (config.clip_by, config.llds) == ("region_entropy", 0.1)
    assert (config.top_p, config.top_k, config.min_p) == (0.9, 40, 0.02)
    assert config.optim == "paged_adamw_8bit" and config.mask_truncated_completions
    assert told(tmp_path, "optimizer.warmup_steps=3").lr_scheduler_type == "constant_with_warmup"
    assert (config.project, config.run_name) == ("toolrest", "run")


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [  # of 1e-3, in each of 4 steps, 2 of them warm-up: by transformers' formulas
        ("constant", [0.0, 0.5, 1.0, 1.0]),
        ("linear", [0.0, 0.5, 1.0, 0.5]),
        ("cosine", [0.0, 0.5, 1.0, 0.5]),
    ],
)
@pytest.mark.slow
def test_the_learning_rate_follows_its_schedule(schedule, rates, tmp_path, embedded_tokenizer):
    options = (f"optimizer.schedule={schedule}", "optimizer.warmup_steps=2", "max_steps=4")
    rows, _ = trained(tmp_path, embedded_tokenizer, *options, "save_steps=4")
    assert [row["learning_rate"] for row in rows] == pytest.approx([1e-3 * r for r in rates])


@pytest.mark.slow
def test_the_kl_term_is_measured_from_the_start(tmp_path, embedded_tokenizer):
    """Nothing in the first step, something once the policy has moved, and it moves the policy."""
    without, plain = trained(tmp_path / "0", embedded_tokenizer)
    rows, held = trained(tmp_path / "1", embedded_tokenizer, "optimizer.beta=10")
    assert "kl" not in without[0]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6) and rows[1]["kl"] > 1e-5
    assert rows[0]["loss"] == pytest.approx(without[0]["loss"], abs=1e-5)
    assert not same(plain, held)


@pytest.mark.slow
def test_cut_responses_are_left_out_of_the_loss(tmp_path, embedded_tokenizer, monkeypatch):
    """Where all are cut nothing is learned, whatever they earn; where some are, from the others."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def odd(completions, **rest):\n    return [n % 2.0 for n in range(len(completions))]\n"
    )
    start = dict(load_policy(load_recipe(None, [])).named_parameters())
    one = ("max_steps=1", "save_steps=1", "reward.function=mine.py:odd")
    short = ("rollout.max_response_tokens=2", *one)
    rows, after = trained(tmp_path / "0", embedded_tokenizer, *short)
    assert rows[0]["completions/clipped_ratio"] == 1 and not same(start, after)
    masked = "optimizer.mask_truncated=true"
    _, after = trained(tmp_path / "1", embedded_tokenizer, *short, masked)
    assert same(start, after)
    some = ("rollout.max_response_tokens=60", *one)
    rows, plain = trained(tmp_path / "2", embedded_tokenizer, *some)
    assert 0 < rows[0]["completions/clipped_ratio"] < 1
    _, after = trained(tmp_path / "3", embedded_tokenizer, *some, masked)
    assert not same(start, after) and not same(plain, after)
    kept, left_out = (
        [json.loads(line) for line in next((tmp_path / n).rglob("step-000001.jsonl")).open()]
        for n in ("2", "3")
    )
    assert {row["cut"] for row in kept} == {True, False}
    for whole, row in zip(kept, left_out, strict=True):  # its text is there, with no weight
        assert any(row["weights"]) != row["cut"]
        apart = {"weights", "advantages", "advantage"}
        assert {k: row[k] for k in row.keys() - apart} == {
            k: whole[k] for k in whole.keys() - apart
        }
        assert len(row["weights"]) == len(row["ids"]) == len(row["regions"]) > 0


@pytest.mark.slow
def test_rewards_have_weights(tmp_path, embedded_tokenizer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def two(completions, **rest):\n    return [2.0] * len(completions)\n"
        "def seven(completions, **rest):\n    return [7.0] * len(completions)\n"
    )
    functions = "reward.function=[mine.py:two, mine.py:seven]"
    short = ("max_steps=1", "save_steps=1", functions)
    rows, _ = trained(tmp_path / "0", embedded_tokenizer, *short, "reward.weights=[0.5, 3, -1]")
    rules = rows[0]["rewards/tool_reward/mean"]
    assert rows[0]["reward"] == pytest.approx(0.5 * rules + 3 * 2 - 7, abs=1e-5)
    rows, _ = trained(tmp_path / "1", embedded_tokenizer, *short)
    assert rows[0]["reward"] == pytest.approx(rules + 2 + 7, abs=1e-5)


def started(folder, *words):
    """A command with everything that there are extras for."""
    apart = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(folder / "trackio")}
    done = subprocess.run(
        [str(EXTRAS), "-m", "toolrest", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | apart | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


FOUR_BITS = ("lora.rank=4", "lora.base_precision=nf4", "optimizer.name=adamw_8bit")


@needs_extras
@pytest.mark.slow
@pytest.mark.parametrize("more", [(), FOUR_BITS], ids=["whole", "four bits"])
def test_metrics_go_to_each_reporter(tmp_path, more):
    """All three in one run; another has adapters on a base of nf4 and moments in 8 bits, too."""
    pytest.importorskip("peft", reason="peft is not installed")
    started(
        tmp_path,
        *("train", *SMALL, "name=r", "report_to=tensorboard,wandb,trackio", "evaluation.samples=2"),
        *(*more, "--quiet"),
    )
    run = tmp_path / "runs" / "r"
    names = {"train/entropy/format", "train/weight/reasoning", "train/share/name", "train/reward"}
    logged = b"".join(file.read_bytes() for file in (run / "tensorboard").iterdir())
    offline = [file.read_bytes() for file in tmp_path.glob("wandb/offline-run-*/*.wandb")]
    kept = [file.read_bytes() for file in (tmp_path / "trackio").glob("toolrest*.db")]
    assert len(offline) == 1 and len(kept) == 1
    for name in names:
        assert name.encode() in logged and name.encode() in offline[0], name
        assert name.encode() in kept[0] or name.removeprefix("train/").encode() in kept[0], name
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and all(row["grad_norm"] > 0 for row in rows)
    if more:
        checkpoint = run / "checkpoints" / "checkpoint-2"
        moments = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
        assert all("__bnb_optimizer_quant_state__" in value for value in moments.values())
        assert (checkpoint / "adapter_model.safetensors").is_file()
        started(tmp_path, "train", "--resume", "runs/r", "max_steps=4", "--quiet")
        assert json.loads((run / "summary.json").read_text())["steps"] == 4


@needs_extras
@pytest.mark.slow
def test_metrics_of_supervised_learning_alone_go_to_each_reporter(tmp_path):
    words = ("warm_start.steps=2", "warm_start.batch_size=2", "evaluation.samples=0", "--quiet")
    reporters = "report_to=tensorboard,wandb,trackio"
    started(tmp_path, "train", "method=sft", "name=r", reporters, *words)
    run = tmp_path / "runs" / "r"
    logged = b"".join(file.read_bytes() for file in (run / "tensorboard").iterdir())
    offline = [file.read_bytes() for file in tmp_path.glob("wandb/offline-run-*/*.wandb")]
    kept = [file.read_bytes() for file in (tmp_path / "trackio").glob("toolrest*.db")]
    assert len(offline) == 1 and len(kept) == 1
    for name in (b"train/loss", b"train/mean_token_accuracy"):
        assert name in logged and name in offline[0], name
    assert b"mean_token_accuracy" in kept[0]


@pytest.mark.slow
def test_a_run_s_length_in_passes_over_its_rows(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from toolrest.cli.main import app

    monkeypatch.chdir(tmp_path)
    row = {
        "instruction": "Tools: none",
        "input": "Say {}",
        "output": "<think> t </think>\n<response> {} </response>",
    }
    rows = [{key: text.replace("{}", str(n)) for key, text in row.items()} for n in range(11)]
    Path("rows.json").write_text(json.dumps(rows))
    words = ("data.path=rows.json", "data.heldout_fraction=0", *SMALL[2:], "max_epochs=0.7")
    plan = CliRunner().invoke(app, ["train", "--dry-run", *words, "save_steps=1"])
    assert plan.exit_code == 0, plan.output
    # 5 whole generations of 2 in a pass over 11 rows, and 0.7 of them: 3
    assert "max_steps: 3  # worked out: 0.7 x 11 rows (max_epochs)" in plan.output
    assert "max_epochs: null" in plan.output and "# plan: 3 steps" in plan.output
    done = CliRunner().invoke(app, ["train", "name=r", *words, "save_steps=1", "--quiet"])
    assert done.exit_code == 0, done.output
    assert len(Path("runs/r/metrics.jsonl").read_text().splitlines()) == 3
    kept = Path("runs/r/recipe.yaml").read_text()
    assert re.search(r"max_steps: 3 +# worked out: 0.7 x 11 rows", kept)
    least = CliRunner().invoke(app, ["train", "--dry-run", *words, "max_steps=2", "save_steps=1"])
    assert "max_steps: 2  # worked out: fewer than the 3 of 0.7 x 11 rows" in least.output


@pytest.mark.slow
def test_the_kl_term_of_a_policy_of_adapters_is_from_what_they_make(tmp_path, monkeypatch):
    """Not from the policy that they were trained on: 0 in the first step."""
    from typer.testing import CliRunner

    from toolrest.cli.main import app

    pytest.importorskip("peft", reason="peft is not installed")
    monkeypatch.chdir(tmp_path)
    for words in (
        ("name=adapters", "lora.rank=4", "optimizer.learning_rate=0.05"),
        ("name=whole", "policy=runs/adapters/checkpoints/checkpoint-2", "optimizer.beta=0.1"),
    ):
        done = CliRunner().invoke(app, ["train", *SMALL, *words, "evaluation.samples=0", "--quiet"])
        assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in Path("runs/whole/metrics.jsonl").read_text().splitlines()]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert Path("runs/whole/base/model.safetensors").is_file()


@pytest.mark.slow
def test_label_noise_turns_what_is_trained_on_round_and_no_metric(tmp_path, embedded_tokenizer):
    given = ("reward.schedule=constant", "max_steps=1", "save_steps=1")
    true, _ = trained(tmp_path / "true", embedded_tokenizer, *given)
    turned, _ = trained(tmp_path / "turned", embedded_tokenizer, *given, "reward.label_noise=1")
    half, _ = trained(tmp_path / "half", embedded_tokenizer, *given, "reward.label_noise=0.5")
    parts = ("reward/correctness", "reward/format", "reward/exact_match")
    for rows in (turned, half):
        assert [rows[0][name] for name in parts] == [true[0][name] for name in parts]
    right, form = true[0]["reward/correctness"], true[0]["reward/format"]
    assert true[0]["reward"] == pytest.approx(form - 3 + 6 * right, abs=1e-5)
    assert turned[0]["reward"] == pytest.approx(form + 3 - 6 * right, abs=1e-5)
    assert turned[0]["reward/flipped"] == 1 and "reward/flipped" not in true[0]
    assert 0 < half[0]["reward/flipped"] < 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("advantage.credit=spans",), "parts of a reward would stay true"),
        (("engine=verl",), "use engine=trl"),
        (("environment.source=world",), "an environment's rewards are its own"),
        (("method=sft",), "supervised learning has no rewards"),
    ],
)
def test_label_noise_that_would_not_be_there_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        load_recipe(None, ["reward.label_noise=0.2", *words])

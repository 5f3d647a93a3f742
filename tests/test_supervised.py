"""Supervised steps are written, shown, kept over a resumption, and read where they are missing."""

import json
import os
import shutil
from pathlib import Path

import pytest
from jobs import make_job
from rich.console import Console
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.engines.trl.warm_start import warm_start_with_trl
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, dump_recipe, parse_recipe
from toolrest.report.live import LiveView, describe_step
from toolrest.report.page_of_runs.collect import collect
from toolrest.report.supervised import describe_supervised
from toolrest.runs.folder import RunFolder
from toolrest.world.demonstrations import demonstrated_samples
from toolrest.world.tasks import Split

WARM = {"method": "rsft", "steps": 3, "batch_size": 4}
STEP = {"loss": 1.25, "mean_token_accuracy": 0.5, "num_tokens": 1234.0, "learning_rate": 1e-4}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def learnt(written=None, micro=None):
    """Three steps of the embedded policy: as the view is told them, as they are written, and its
    weights.
    """
    recipe = parse_recipe({"warm_start": WARM, "optimizer": {"micro_batch": micro}}, "x")
    Path("out").mkdir()
    job = make_job(recipe, Path("out"), load_tokenizer(recipe), [])
    samples = demonstrated_samples(Split.TRAIN, 16, 0)
    if written is not None:
        job.run.warm_metrics.write_text(written)
    warm_start_with_trl(job, load_policy(recipe), samples)
    weights = load_policy(recipe, job.run.warm_start).state_dict()
    rows = [json.loads(line) for line in job.run.warm_metrics.read_text().splitlines()]
    shutil.rmtree("out")
    return job.view.steps, rows, weights


@pytest.mark.slow
def test_each_step_is_written_and_told_anew_and_forwards_of_part_learn_the_same(tmp_path):
    stopped_before = '{"step": 99}\n'
    told, rows, whole = learnt(stopped_before)
    assert [row["step"] for row in rows] == [1, 2, 3] == [step for step, _ in told]
    for row in rows:
        assert row["loss"] > 0 and row["learning_rate"] == 1e-4 and row["seconds"] > 0
    tokens = [row["num_tokens"] for row in rows]
    assert tokens == sorted(tokens) and tokens[0] > 0
    split_told, _, split = learnt(micro=2)
    assert split_told[0][1]["loss"] == pytest.approx(rows[0]["loss"], rel=1e-4)
    for name, value in whole.items():
        assert (value - split[name]).abs().max() < 2e-5, name


@pytest.mark.parametrize("alone", [True, False])
def test_metrics_of_supervised_learning_alone_go_where_report_to_says(alone, monkeypatch):
    """A warm start's do not: the steps of reinforcement learning would be counted from 1 again."""
    logged = []

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            place = os.environ["TENSORBOARD_LOGGING_DIR"]
            logged.append((state.global_step, logs, args.project, args.run_name, place))

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Reporter)
    method = {"method": "rsft"} if alone else {}
    recipe = parse_recipe({"report_to": "tensorboard", "warm_start": WARM}, "x")
    recipe = recipe.model_copy(update=method)  # as the engine has it
    Path("out").mkdir()
    job = make_job(recipe, Path("out"), load_tokenizer(recipe), [])
    warm_start_with_trl(job, load_policy(recipe), demonstrated_samples(Split.TRAIN, 16, 0))
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    steps = [step for step, logs, *_ in logged if "loss" in logs]
    assert steps == ([1, 2, 3] if alone else [])
    assert {tuple(rest) for _, _, *rest in logged} == (
        {("toolrest", "out", "out/tensorboard")} if alone else set()
    )


def test_a_step_in_one_line():
    expected = "loss 1.2500  token accuracy 0.50  tokens 1,234  learning rate 1.0e-04"
    assert describe_step(STEP) == expected
    assert describe_step({"loss": 0.0, "reward": 1.0}).startswith("reward 1.00")


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_shows_the_loss_and_forgets_it_where_another_part_begins(tmp_path, terminal):
    import io

    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    with LiveView(console=console) as view:
        view.stage("warm start", 5)
        view.step(1, STEP)
        if terminal:
            plain = Console(file=io.StringIO(), width=100, color_system=None)
            plain.print(view._board())
            text = plain.file.getvalue()
            assert "loss" in text and "1.250" in text and "region" not in text
        view.stage("training", 5)
        assert not view._history
    if not terminal:
        assert f"step 1/5  {describe_step(STEP)}" in out.getvalue()


def a_run(name, method, metrics=None, warm=None):
    folder = Path(name)
    folder.mkdir()
    values = {"method": method} | ({"warm_start": {"method": "sft"}} if warm else {})
    (folder / "recipe.yaml").write_text(dump_recipe(parse_recipe(values, "x")))
    lines = [json.dumps({"step": n, **STEP, "loss": 3.0 - n}) + "\n" for n in (1, 2)]
    for file, wanted in (("metrics.jsonl", metrics), ("warm_start.jsonl", warm)):
        if wanted:
            (folder / file).write_text("".join(lines) + "torn")
    return folder


def test_the_report_and_inspect_have_supervised_steps():
    alone = a_run("alone", "sft", metrics=True)
    found = collect(alone)
    assert found["supervised"]["loss"] == [[1, 2], [2.0, 1.0]]
    assert found["supervised"]["learning_rate"] == [[1, 2], [1e-4, 1e-4]]
    assert found["series"] == {} and found["scheme"] == "sft" and found["steps"] == 2
    assert "no rollouts" not in found["missing"]
    warm = a_run("warm", "rl", metrics=True, warm=True)
    assert collect(warm)["supervised"]["num_tokens"] == [[1, 2], [1234.0, 1234.0]]
    shown = CliRunner().invoke(app, ["inspect", "alone"])
    assert shown.exit_code == 0 and "2.0000 to 1.0000" in shown.stdout
    assert "step 2       loss 1.0000" in shown.stdout
    for nothing in (("--progress", "0"), ("--step", "0")):  # 0 asks for something too
        assert CliRunner().invoke(app, ["inspect", "alone", *nothing]).exit_code == 2
    page = CliRunner().invoke(app, ["report", "alone", "--figures", "figures"])
    assert page.exit_code == 0 and "Loss on demonstrations" in Path("alone/report.html").read_text()
    assert Path("figures/supervised_loss.png").is_file()


def test_runs_of_earlier_versions_are_read():
    old = a_run("old", "sft")
    found = collect(old)
    assert found["supervised"] == {} and "no metrics.jsonl" in found["missing"]
    assert describe_supervised(RunFolder(old)) == []
    shown = CliRunner().invoke(app, ["inspect", "old"])
    assert shown.exit_code == 2 and "no rollouts" in shown.output
    assert collect(a_run("cold", "rl"))["supervised"] == {}


def test_a_rewound_run_keeps_its_warm_start():
    """Its steps are of their own: those of reinforcement learning begin at 1 again."""
    run = RunFolder(a_run("warm", "rl", warm=True))
    run.metrics.write_text('{"step": 1}\n{"step": 2}\n')
    before = run.warm_metrics.read_text()
    run.rewind(1)
    assert run.warm_metrics.read_text() == before and run.metrics.read_text() == '{"step": 1}\n'


@pytest.mark.slow
def test_a_run_that_is_supervised_alone_and_names_no_file_that_it_has_not():
    small = ("warm_start.steps=2", "warm_start.batch_size=2", "evaluation.samples=0", "name=a")
    done = CliRunner().invoke(app, ["train", "method=sft", *small])
    assert done.exit_code == 0, done.output
    rows = Path("runs/a/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2]
    assert "step 2/2  loss " in done.output
    assert "after.jsonl" not in done.output and "metrics.jsonl" in done.output
    assert Recipe().warm_start.method == "none"

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe, dump_recipe
from toolrest.runs.folder import RunFolder

SMALL = (
    "max_steps=4",
    "save_steps=2",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_response_tokens=48",
    "evaluation.samples=4",
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_here(*arguments):
    """`train` and others in this process, without the start of another."""
    return CliRunner().invoke(app, list(arguments))


def records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "step_time")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


@pytest.mark.slow
def test_a_run_and_one_that_was_killed_and_resumed_end_the_same(tmp_path, forking):
    run = partial(forking.run, cwd=tmp_path)
    straight = run("train", *SMALL, "name=straight")
    assert straight.returncode == 0, straight.stderr
    folder = tmp_path / "runs" / "straight"
    for name in ("recipe.yaml", "environment.json", "data.json", "rollouts", "checkpoints"):
        assert (folder / name).exists(), name
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["before"]["n"] == summary["after"]["n"] == 4
    assert (summary["steps"], summary["scheme"], summary["seed"]) == (4, "rest", 0)
    assert [record["step"] for record in records(folder)] == [1, 2, 3, 4]
    assert "exact match, sampled" in straight.stdout
    assert "runs/straight" in straight.stdout
    (line,) = (x for x in straight.stdout.splitlines() if x.startswith("with GRPO"))
    command = shlex.split(line.removeprefix("with GRPO"))
    assert command[0] == "toolrest"
    plan = CliRunner().invoke(app, [*command[1:], "--dry-run"])
    assert plan.exit_code == 0
    assert "scheme: uniform" in plan.stdout and "max_steps: 4" in plan.stdout
    assert "reward" in straight.stdout

    killed = tmp_path / "runs" / "killed"
    with forking.start("train", *SMALL, "name=killed", cwd=tmp_path) as process:
        metrics = killed / "metrics.jsonl"
        for _ in range(3000):
            if metrics.exists() and metrics.read_text().count("\n") >= 3:
                break
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "summary.json").exists()
    resumed = run("train", "--resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step 2 of 4" in resumed.stdout
    assert records(killed) == records(folder)
    for name in ("rollouts/step-000003.jsonl", "evaluation/after.json"):
        assert (killed / name).read_text() == (folder / name).read_text()
    weights = [
        load_file(f / "checkpoints/checkpoint-4/model.safetensors") for f in (folder, killed)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])

    for name in ("summary.json", "evaluation/after.json", "evaluation/after.jsonl"):
        (killed / name).unlink()  # as if killed after the last checkpoint
    again = run("train", "--resume", "auto")
    assert again.returncode == 0, again.stderr
    assert json.loads((killed / "summary.json").read_text())["steps"] == 4
    assert records(killed) == records(folder)
    path = "evaluation/after.json"
    assert (killed / path).read_text() == (folder / path).read_text()


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path, forking):
    steps = ("max_steps=500", "evaluation.samples=0", "name=stopped")
    with forking.start("train", *SMALL, *steps, cwd=tmp_path) as process:
        metrics = tmp_path / "runs" / "stopped" / "metrics.jsonl"
        for _ in range(3000):
            if metrics.exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        message = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "toolrest train --resume runs/stopped" in message
    assert "Traceback" not in message
    done = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert (tmp_path / f"runs/stopped/checkpoints/checkpoint-{done}/toolrest_state.json").exists()


def refused(*arguments):
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    assert not list(Path("runs").glob("*"))
    return lines[0]


def broken_parquet(path):
    good = {
        "prompt": [{"role": "user", "content": "x"}],
        "reward_model": {"ground_truth": "<think> t </think>\n<response> r </response>"},
    }
    bad = {"prompt": good["prompt"], "reward_model": {"ground_truth": "nothing"}}
    pq.write_table(pa.Table.from_pylist([good, bad]), path)


def test_wrong_input_is_one_line(tmp_path):
    pq.write_table(pa.table({"question": ["x"]}), tmp_path / "columns.parquet")
    broken_parquet(tmp_path / "row.parquet")
    (tmp_path / "folder").mkdir()
    assert "no such file" in refused("data.path=none.parquet")
    assert "none of the formats" in refused("data.path=columns.parquet")
    assert "row 1" in refused("data.path=row.parquet")
    assert "did you mean 'max_steps'" in refused("max_step=3")
    assert "unknown dialect 'rlle'" in refused("dialect=rlle")
    assert "not a checkpoint folder" in refused("policy=./folder")
    assert "no such folder" in refused("policy=./nowhere")
    assert "greater than or equal to 1" in refused("max_steps=0")
    assert "no such recipe" in refused("none.yaml")
    assert "unknown weighting scheme" in refused("weighting.scheme=rset")
    assert "no run in runs is unfinished" in refused("--resume", "auto")
    assert "may be changed" in refused("--resume", "auto", "seed=3")


def test_a_policy_without_weights_or_with_a_slow_tokenizer_is_one_line(tmp_path):
    source = Path(policy_path(Recipe()))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((source / "config.json").read_text())
    assert "no .safetensors" in refused("policy=./bare")
    (bare / "model.safetensors").write_bytes(b"not safetensors")
    assert "the folder has no tokenizer" in refused("policy=./bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_text((source / name).read_text())
    assert "no readable safetensors" in refused("policy=./bare")
    (bare / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    assert "no chat template" in refused("policy=./bare")
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "config.json").write_text((source / "config.json").read_text())
    (slow / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    (slow / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    assert "not a fast one" in refused("policy=./slow")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        RuntimeError("PytorchStreamWriter failed: No space left on device"),
    ],
)
def test_a_full_disk_is_one_line(monkeypatch, error):
    def fill(*arguments, **options):
        raise error

    monkeypatch.setattr("toolrest.training.run_samples", fill)
    result = CliRunner().invoke(app, ["train"])
    assert result.exit_code == 2
    assert "the disk is full" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.endswith("go on with: the same command\n")
    assert not list(Path("runs").glob("*"))


STOPPED = (
    *("recipe.load_recipe", "doctor.preflight.preflight", "engines.common.ranks.join_ranks"),
    *("runs.claims.new_run", "cli.work.quiet_libraries", "report.live.LiveView"),
    *("training.run_samples", "engines.trl.job.load_policy"),
)
"""From what is imported first to what is loaded last before a run is in use."""


@pytest.mark.slow
@pytest.mark.parametrize("where", STOPPED)
def test_what_is_stopped_before_anything_was_done_begins_again_by_the_same_command(
    monkeypatch, where
):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"toolrest.{where}", stop)
    result = CliRunner().invoke(app, ["train", *SMALL, "name=mine"])
    assert result.exit_code == 130
    assert result.stderr == (
        "stopped before anything was done: nothing is kept. Begin with: the same command\n"
    )
    assert not list(Path("runs").glob("*"))
    monkeypatch.setattr(f"toolrest.{where}", lambda *arguments, **options: 1 / 0)
    again = CliRunner().invoke(app, ["train", *SMALL, "name=mine"])
    assert isinstance(again.exception, ZeroDivisionError), "the name is free"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("runs.claims.resumed_run", "the run is as it was. Go on with: the same command"),
        ("doctor.preflight.preflight", "the run is as it was. Go on with: the same command"),
        ("cli.work.quiet_libraries", "Go on with: toolrest train --resume runs/mine"),
    ],
)
def test_a_run_that_was_to_go_on_is_kept_where_that_is_stopped(monkeypatch, where, said):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    run = RunFolder(Path("runs/mine"))
    (run.path / "evaluation").mkdir(parents=True)
    run.recipe.write_text(dump_recipe(Recipe(max_steps=3)))
    (run.path / "evaluation" / "before.json").write_text("{}")
    monkeypatch.setattr(f"toolrest.{where}", stop)
    result = CliRunner().invoke(app, ["train", "--resume", "runs/mine"])
    assert result.exit_code == 130, result.output
    assert result.stderr.startswith("stopped") and result.stderr.endswith(f"{said}\n")
    assert (run.path / "evaluation" / "before.json").is_file()


@pytest.mark.parametrize("command", [("runs",), ("recipes",), ("score", "x")])
def test_an_interrupt_of_any_command_is_a_line(monkeypatch, command):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    for where in ("runs.listing.list_runs", "recipe.shipped.shipped_recipes"):
        monkeypatch.setattr(f"toolrest.{where}", stop)
    monkeypatch.setattr("toolrest.cli.score._check_file", stop)
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stderr) == (130, "stopped\n")


@pytest.mark.parametrize("engine", [(), ("engine.processes=2",), ("engine=verl", "policy=a/b")])
@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_has_just_begun_is_not_touched_by_a_second_one(engine, begun):
    run = RunFolder(Path("runs") / "mine")
    run.path.mkdir(parents=True)
    with run.held():
        if begun:
            run.recipe.write_text("seed: 0\n")
        before = sorted(run.path.iterdir())
        for data in ((), ("data.path=none.parquet",)):
            result = CliRunner().invoke(app, ["train", *SMALL, *engine, *data, "name=mine"])
            assert result.exit_code == 2, result.output
            assert result.stderr == (
                "toolrest: runs/mine: another process is training there; choose another name "
                "(name=...), or wait for it\n"
            )
            assert sorted(run.path.iterdir()) == before


def test_a_dry_run_prints_the_recipe_and_makes_nothing(tmp_path):
    result = CliRunner().invoke(app, ["train", "--dry-run", "max_steps=7"])
    assert result.exit_code == 0
    assert "max_steps: 7" in result.stdout
    assert "# plan: 7 steps of 16 prompts x 8 responses" in result.stdout
    assert not list((tmp_path / "runs").glob("*"))


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from toolrest.cli.main import app; "
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_real_rows_train(data_folder):
    recipe = Path(__file__).parents[2] / "recipes" / "rlla-smoke.yaml"
    for name, count in (("rlla_test.parquet", 80), ("rlla_sft.json", 400)):
        done = run_here(
            *("train", str(recipe), f"data.path={data_folder / name}", "max_steps=1"),
            *(f"name={name}", "evaluation.samples=2", "rollout.max_response_tokens=24"),
            *("rollout.prompts_per_step=1", "rollout.group_size=2"),
        )
        assert done.exit_code == 0, done.stderr
        folder = Path("runs") / name
        data = json.loads((folder / "data.json").read_text())
        assert data["rows"] == count
        assert data["train"] + data["heldout"] + len(data["too_long"]) == count
        assert data["evaluated"] == min(2, data["heldout"])
        assert len(records(folder)) == 1


@pytest.mark.slow
def test_a_warm_start_then_reinforcement_in_one_recipe(tmp_path):
    done = run_here(
        *("train", *SMALL, "name=warm", "max_steps=2", "evaluation.every=1"),
        *("warm_start.method=tsft", "warm_start.steps=2", "warm_start.batch_size=4"),
    )
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "runs" / "warm"
    taught = load_file(folder / "warm_start" / "model.safetensors")
    start = load_file(Path(policy_path(Recipe())) / "model.safetensors")
    assert any(not taught[name].equal(start[name]) for name in start)
    curve = [json.loads(x) for x in (folder / "evaluation/curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [0, 1, 2]
    warm = json.loads((folder / "evaluation" / "warm_start.json").read_text())
    assert {k: v for k, v in curve[0].items() if k != "step"} == warm
    summary = json.loads((folder / "summary.json").read_text())
    assert {k: v for k, v in curve[2].items() if k != "step"} == summary["after"]


def test_a_run_that_is_not_evaluated_before_training(tmp_path):
    words = ("max_steps=2", "evaluation.every=1", "evaluation.before=false", "name=late")
    done = run_here("train", *SMALL, *words)
    assert done.exit_code == 0, done.stderr
    assert "before" not in done.output and "exact match, greedy" in done.output
    folder = tmp_path / "runs" / "late"
    assert not list((folder / "evaluation").glob("before*"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["before"] is None and summary["after"]["n"] == 4
    curve = [json.loads(x) for x in (folder / "evaluation/curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [1, 2]
    assert "? -> " in run_here("runs").stdout
    assert run_here("report", "runs/late").exit_code == 0


def test_data_without_demonstrations_cannot_warm_start(tmp_path):
    table = pa.table(
        {
            "prompt": [[{"role": "user", "content": "q"}]] * 2,
            "reward_model": [{"ground_truth": "<think> t </think>\n<response> r </response>"}] * 2,
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    failed = run_here(
        *("train", "warm_start.method=sft", "data.path=rows.parquet", "evaluation.samples=0"),
        *("rollout.prompts_per_step=1", "rollout.group_size=2"),
    )
    assert failed.exit_code == 2
    assert "no row has a demonstration" in failed.stderr
    assert "Traceback" not in failed.stderr


def more(*arguments):
    done = run_here("train", *arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A run of two steps that is done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("two"))
        assert more(*SMALL, "max_steps=2", "name=x", "--quiet")[0] == 0
        return Path("runs").absolute()


@pytest.fixture
def done(two_steps):
    """The same, as `runs/x` of this test's folder."""
    shutil.copytree(two_steps, "runs")
    return Path("runs/x").absolute()


@pytest.mark.slow
def test_a_run_that_is_done_is_trained_for_longer(tmp_path):
    """It goes on from its last step; the steps that were done stay as they were."""
    assert more(*SMALL, "max_steps=2", "name=x", "evaluation.every=1", "--quiet")[0] == 0
    folder = tmp_path / "runs" / "x"
    first, end = records(folder), (folder / "evaluation" / "after.json").read_text()
    code, out, err = more("--resume", "runs/x", "max_steps=4", "--quiet")
    assert code == 0, err
    (said,) = [line for line in out.splitlines() if "progress" in line]
    assert "max_steps 2 -> 4 after step 2" in said and "from 1.000 to 0.500" in said
    steps = records(folder)
    assert [each["step"] for each in steps] == [1, 2, 3, 4]
    assert steps[:2] == first
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 4
    assert (folder / "evaluation" / "after-2.json").read_text() == end
    curve = (folder / "evaluation" / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in curve] == [0, 1, 2, 3, 4]
    assert (folder / "checkpoints" / "checkpoint-4" / "model.safetensors").is_file()
    warnings = (folder / "warnings.jsonl").read_text()
    assert said in [json.loads(line)["text"] for line in warnings.splitlines()]
    text = (folder / "recipe.yaml").read_text()
    assert "max_steps: 4  # worked out: it was 2, and was raised after step 2" in text
    again = more("--resume", "runs/x", "max_steps=6", "--quiet", "--dry-run")
    assert again[0] == 0 and "raised after step 2" in (folder / "recipe.yaml").read_text()


@pytest.mark.slow
def test_the_longer_run_has_its_progress_counted_to_the_new_end(done, tmp_path):
    """As a run of that length that began with the checkpoint: the weights of step 3 are of 2/4."""
    assert more(*SMALL, "max_steps=4", "name=straight", "--quiet")[0] == 0
    assert more("--resume", "runs/x", "max_steps=4", "--quiet")[0] == 0
    rollouts = [
        (tmp_path / "runs" / name / "rollouts" / "step-000001.jsonl").read_text()
        for name in ("x", "straight")
    ]
    assert rollouts[0] == rollouts[1]  # the first step has progress 0 in both
    assert len(list((tmp_path / "runs" / "x" / "rollouts").iterdir())) == 4


@pytest.mark.slow
def test_a_run_that_was_stopped_can_be_extended_and_one_tried_before_goes_on(tmp_path):
    assert more(*SMALL, "max_steps=4", "name=x", "--quiet")[0] == 0
    folder = tmp_path / "runs" / "x"
    shutil.rmtree(folder / "checkpoints" / "checkpoint-4")
    (folder / "summary.json").unlink()
    code, out, err = more("--resume", "auto", "max_steps=6", "--quiet")
    assert code == 0, err
    assert "max_steps 4 -> 6 after step 2" in out
    assert [each["step"] for each in records(folder)] == [1, 2, 3, 4, 5, 6]
    shutil.rmtree(folder / "checkpoints" / "checkpoint-6")
    code, out, err = more("--resume", "runs/x", "max_steps=6", "--quiet")
    assert code == 0 and "progress" not in out, err
    assert records(folder)[-1]["step"] == 6


@pytest.mark.slow
def test_fewer_steps_are_refused_and_change_nothing(done):
    before = {
        path: path.read_bytes()
        for path in done.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    for steps in (1, 2):
        code, _, err = more("--resume", "runs/x", f"max_steps={steps}")
        assert code == 2 and "2 steps done of 2, and can be given more alone" in err
        assert err.count("\n") == 1
    code, _, err = more("--resume", "runs/x")
    assert code == 2 and "a larger max_steps" in err
    code, _, err = more("--resume", "runs/x", "max_steps=4", "seed=1")
    assert code == 2 and "may be changed" in err
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_recipe_that_was_edited_is_none_to_extend(done):
    recipe = done / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 1"))
    code, _, err = more("--resume", "runs/x", "max_steps=4", "--quiet")
    assert code == 2 and "the recipe has changed" in err
    assert (done / "summary.json").is_file()  # it is done, as before
    assert (done / "evaluation" / "after.jsonl").is_file()
    code, _, err = more("--resume", "runs/x", "max_steps=4", "--quiet", "--accept-changed-data")
    assert code == 0, err

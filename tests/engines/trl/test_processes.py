"""The same numbers whatever the split, and processes that start, stop and fail together."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner
from weights_in_processes import ROWS, SCHEMES, part_of, whole_batch

from toolrest.cli.main import app
from toolrest.core.weights import get_scheme
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.engines.trl.processes import accelerate_config
from toolrest.errors import InputError
from toolrest.io.files import TakenError
from toolrest.policy.folder import policy_path
from toolrest.recipe import SHIPPED_SHARDING, Engine, Recipe, load_recipe
from toolrest.runs.checkpoints import CHECKPOINT_STATE
from toolrest.runs.claims import resumed_run
from toolrest.runs.folder import RunFolder

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SIZE = (
    "max_steps=3",
    "save_steps=3",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_response_tokens=64",
    "evaluation.samples=5",
    "optimizer.learning_rate=1e-5",
)
ALONE_TOO = {"seconds", "step_time", "loss", "num_tokens", "learning_rate", "entropy"}
"""Of one process, of the clock, of rounding alone, or (TRL's entropy) a mean over forwards."""


def toolrest(*arguments):
    return [sys.executable, "-m", "toolrest", *arguments]


def train_here(folder, *arguments):
    """`train` in this process, without the start of another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["train", *SIZE, *arguments, "--quiet"])
    assert done.exit_code == 0, done.stderr
    return run_of(folder, arguments)


def train(forking, folder, *arguments):
    done = forking.run("train", *SIZE, *arguments, "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return run_of(folder, arguments)


def run_of(folder, arguments):
    name = next(a.removeprefix("name=") for a in arguments if a.startswith("name="))
    return RunFolder(folder / "runs" / name)


def weights(run):
    return load_file(run.checkpoints / "checkpoint-3" / "model.safetensors")


@pytest.fixture(scope="module")
def split_runs(tmp_path_factory, forking):
    folder = tmp_path_factory.mktemp("split")
    return {
        "one": train_here(folder, "name=one"),
        "two": train(forking, folder, "name=two", "engine.processes=2"),
        "parts": train(
            *(forking, folder, "name=parts", "engine.processes=2", "optimizer.micro_tokens=300")
        ),
        "accumulated": train_here(folder, "name=accumulated", "optimizer.micro_batch=4"),
    }


@pytest.mark.parametrize("other", ["two", "parts", "accumulated"])
def test_parameters_do_not_depend_on_the_split(split_runs, other):
    """1 process x 8 = 2 processes x 4 = 1 process x 4 with accumulation 2, up to how a CPU adds:
    1.2e-6 were seen without AVX-512. AdamW moves by 1e-5 a step whatever the gradient's size, so a
    split that is wrong is far from that.
    """
    start = load_file(Path(policy_path(Recipe())) / "model.safetensors")
    one, two = weights(split_runs["one"]), weights(split_runs[other])
    moved = max((one[name] - start[name]).abs().max().item() for name in one)
    apart = max((one[name] - two[name]).abs().max().item() for name in one)
    assert moved > 2e-5
    assert apart < 2e-6


@pytest.mark.parametrize("other", ["two", "parts", "accumulated"])
def test_region_entropies_and_weights_are_those_of_all_processes(split_runs, other):
    lines = [split_runs[name].metrics.read_text().splitlines() for name in ("one", other)]
    assert len(lines[0]) == len(lines[1]) == 3
    for one, two in zip(*(map(json.loads, each) for each in lines), strict=True):
        assert one.keys() == two.keys()
        assert any(key.startswith("entropy/") for key in one)
        for key in one.keys() - ALONE_TOO:
            nothing = 1e-4 if key.startswith("sampling/") else 1e-6  # rounding, at its greatest
            assert two[key] == pytest.approx(one[key], rel=1e-4, abs=nothing), key


def test_evaluations_do_not_depend_on_the_split(split_runs):
    """Other batches round otherwise, so that once in a long while another token is drawn."""
    for name in ("before.jsonl", "after.jsonl"):
        one, two = (
            (split_runs[run].evaluation / name).read_text().splitlines() for run in ("one", "two")
        )
        assert len(one) == len(two) == 10
        assert sum(a != b for a, b in zip(one, two, strict=True)) <= 1


@pytest.mark.parametrize("processes", [2, 4])
def test_schemes_weigh_the_batch_of_all_processes(processes, tmp_path, forking):
    run_in_processes(forking, "weights_in_processes.py", tmp_path, processes)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(processes)]
    whole, rows = whole_batch(), ROWS // processes
    for name in SCHEMES:
        expected = get_scheme(name)(whole)
        for rank, part in enumerate(parts):
            mine = slice(rows * rank, rows * (rank + 1))
            found, width = part[name], part[name].shape[1]
            assert not expected[mine, width:].any()
            assert torch.allclose(found, expected[mine, :width], rtol=0, atol=1e-6), name
        if name not in ("gtpo", "contrast"):  # which need whole groups
            alone = get_scheme(name)(part_of(whole, slice(rows)))
            assert not torch.allclose(alone, parts[0][name], rtol=0, atol=1e-6), name


COMPARED = (
    ("weighting.scheme=stare*actfocus",),
    ("weighting.scheme=top_entropy", "advantage.credit=spans", "advantage.scale=batch"),
)
"""What compares tokens, or rewards to go, over the batch."""


def test_the_signal_of_all_processes_is_measured(tmp_path, forking):
    """Of the second generation, after Adam's first step, which hardly moves the policy: the split
    of a batch changes rounding, and with a usual step a token may be drawn otherwise after it.
    """
    more = ("weighting.scheme=signal", "max_steps=2", "save_steps=2", "evaluation.samples=0")
    more += ("optimizer.learning_rate=1e-9",)
    one = train_here(tmp_path, *more, "name=one")
    two = train(forking, tmp_path, *more, "name=two", "engine.processes=2")
    states = [
        json.loads((run.checkpoints / "checkpoint-2" / CHECKPOINT_STATE).read_text())["signal"]
        for run in (one, two)
    ]
    assert states[0]["first"] == states[1]["first"] == 1
    for name in ("noise", "own"):
        alone, together = (torch.tensor(state[name]) for state in states)
        greatest = float(alone.abs().max())
        assert greatest > 0
        assert torch.allclose(alone, together, rtol=1e-3, atol=1e-4 * greatest)


@pytest.mark.parametrize("more", COMPARED)
def test_what_compares_tokens_of_the_batch_trains_alike_in_two_processes(more, tmp_path, forking):
    one = weights(train_here(tmp_path, *more, "name=one"))
    two = weights(train(forking, tmp_path, *more, "name=two", "engine.processes=2"))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 2e-6


def run_in_processes(forking, script, folder, processes):
    done = forking.run_file(
        *(HERE / script, str(folder)),
        cwd=folder,
        processes=processes,
        env={"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_uniform_weights_are_grpo_bitwise_in_two_processes(tmp_path, forking):
    run_in_processes(forking, "uniform_in_processes.py", tmp_path, 2)
    plain, ours = (torch.load(tmp_path / f"{name}.pt") for name in ("plain", "ours"))
    start = load_file(Path(policy_path(Recipe())) / "model.safetensors")
    assert any(not torch.equal(plain[name], start[name]) for name in start)
    assert plain.keys() == ours.keys()
    for name in plain:
        assert torch.equal(plain[name], ours[name]), name


def workers_of(run):
    """The processes that were started for a run, the launcher included."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(run.path).encode() in words:
                found.append(int(folder.name))
    return found


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_ctrl_c_stops_all_processes_at_the_same_step(tmp_path):
    run = RunFolder(Path("runs") / "stopped")
    words = (*SIZE, "max_steps=400", "save_steps=400", "engine.processes=2", "name=stopped")
    process = subprocess.Popen(
        toolrest("train", *words),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((tmp_path / run.metrics).exists)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    lines = [line for line in said.splitlines() if "Warn" not in line]
    assert lines == [
        f"stopped; what is done is kept. Go on with: toolrest train --resume {run.path}"
    ]
    steps = len((tmp_path / run.metrics).read_text().splitlines())
    assert [p.name for p in (tmp_path / run.checkpoints).glob("*-*")] == [f"checkpoint-{steps}"]
    wait_for(lambda: not workers_of(run), 10)


def test_processes_hold_their_run_and_end_with_the_one_that_started_them(tmp_path):
    """It is held from the first moment, also while they load, and by them when that one is gone."""
    command = toolrest("train", *SIZE, "max_steps=400", "engine.processes=2", "name=mine")
    run, seen = RunFolder(tmp_path / "runs" / "mine"), RunFolder(Path("runs") / "mine")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        for begun in (run.environment, run.worker_lock, run.metrics):
            wait_for(begun.is_file)
            with pytest.raises(TakenError, match="is training there"), resumed_run(str(run.path)):
                pass
        with pytest.raises(TakenError, match="is training there"), run.worked_in():
            pass
        assert len(workers_of(seen)) >= 3
        process.kill()
    wait_for(lambda: not workers_of(seen), 30)
    with resumed_run(str(run.path)):
        pass


def test_wrong_input_is_said_once(tmp_path):
    done = subprocess.run(
        toolrest("train", *SIZE, "engine.processes=2", "policy=./nowhere", "--quiet"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"toolrest: policy={tmp_path}/nowhere: there is no such folder")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_launcher_s_count_must_be_the_recipe_s(tmp_path):
    done = subprocess.run(
        toolrest("train", *SIZE, "engine.nodes=2"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "started on every machine" in done.stderr


@pytest.mark.parametrize("name", [n for n in SHIPPED_SHARDING if not n.startswith("zero")])
def test_shipped_configurations_are_read_by_accelerate(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(accelerate_config(Engine(sharding=name))))
    assert config.distributed_type.value == {"ddp": "MULTI_GPU", "fsdp": "FSDP"}[name]


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_shipped_deepspeed_configurations_are_read_by_accelerate(name, stage, monkeypatch):
    from accelerate.commands.config.config_args import load_config_from_file

    with pytest.raises(InputError, match="pip install deepspeed"):
        accelerate_config(Engine(sharding=name))
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda package: True)
    config = load_config_from_file(str(accelerate_config(Engine(sharding=name))))
    assert config.distributed_type.value == "DEEPSPEED"
    assert config.deepspeed_config["zero_stage"] == stage


def test_an_unknown_sharding_is_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'fsdp'"):
        accelerate_config(Engine(sharding="fdsp"))
    with pytest.raises(InputError, match="no such file"):
        accelerate_config(Engine(sharding=str(tmp_path / "own.yaml")))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["engine.processes=3"], "do not divide the 128 responses"),
        (["engine.processes=2", "optimizer.micro_batch=48"], "64 responses of an optimiser step"),
        (["optimizer.mini_batch=5"], "does not divide rollout.prompts_per_step=16"),
        (["optimizer.mini_batch=4", "save_steps=6"], "use 8"),
        (["engine.options.a.b=1"], "a setting of verl"),
        (["engine=trll"], "'trl' or 'verl'"),
        (
            ["engine.processes=2", "engine.sharding=fsdp", "evaluation.every=5"],
            "toolrest evaluate RUN",
        ),
    ],
)
def test_splits_that_do_not_fit_are_named(overrides, text):
    with pytest.raises(InputError, match=text):
        load_recipe(None, overrides)


def test_engine_is_short_for_its_name(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("engine: verl\n")
    assert load_recipe(path, ["engine.processes=8"]).engine == Engine(name="verl", processes=8)
    recipe = load_recipe(path, ["engine.processes=8", "engine=trl"])
    assert recipe.engine == Engine(processes=8)


def test_one_process_is_alone():
    assert ALONE.main
    assert ALONE.each(3) == [3]
    assert ALONE.first(lambda: 4) == 4
    assert not ALONE.any(False)
    assert not Ranks(1, 2).main


def test_episodes_do_not_depend_on_the_split(tmp_path, forking):
    """Two processes begin and play the episodes that one does, in the first generation."""
    acting = (
        *("environment.source=world", "rollout.max_response_tokens=64", "max_steps=1"),
        *("environment.max_turns=4", "environment.max_trajectory_tokens=320", "save_steps=1"),
        *("rollout.saved_groups=2", "evaluation.samples=0", "environment.workers=2"),
        "advantage.credit=turns",
    )
    one = train_here(tmp_path, *acting, "name=one")
    two = train(forking, tmp_path, *acting, "name=two", "engine.processes=2")
    records = [
        [json.loads(line) for line in next(run.rollouts.glob("*.jsonl")).read_text().splitlines()]
        for run in (one, two)
    ]
    assert len(records[0]) == 8 and len(records[1]) == 4  # the first process writes its own
    for here, there in zip(*records, strict=False):
        for key in ("identity", "ids", "regions", "reward", "episode"):
            assert here[key] == there[key], key
        assert there["advantage"] == pytest.approx(here["advantage"], abs=1e-5)
    first, other = (json.loads(run.metrics.read_text()) for run in (one, two))
    for key in first:
        if key.startswith(("episode/", "ending/", "share/", "reward")):
            assert other[key] == pytest.approx(first[key], rel=1e-5, abs=1e-6), key

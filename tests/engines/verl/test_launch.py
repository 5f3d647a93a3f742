"""Starting verl and following it, with a stand-in for verl's process."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress

import psutil
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.engines.verl import environment as verl_environment
from toolrest.engines.verl import launch as launch_verl
from toolrest.engines.verl.environment import check_verl, missing_for_launch
from toolrest.engines.verl.launch import last_step, train_with_verl
from toolrest.engines.verl.overrides import run_paths
from toolrest.engines.verl.rows import write_rows
from toolrest.engines.verl.weights import SIGNAL, SPREAD
from toolrest.errors import InputError
from toolrest.io.files import TakenError
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe, load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.world.tasks import Split, make_samples

OURS = {SIGNAL: 40.0, SPREAD: 1.0, "share/format": 0.2, "signal/format": 0.3}


@pytest.fixture
def verl(tmp_path, monkeypatch):
    """Write what `python -m verl.trainer.main_ppo` does."""

    def write(body):
        folder = tmp_path / "stand-in" / "verl" / "trainer"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        (folder / "__init__.py").touch()
        head = """
            import json, os, sys, time
            def log(step, **data):
                with open(os.environ["VERL_FILE_LOGGER_PATH"], "a") as file:
                    file.write(json.dumps({"step": step, "data": data}) + "\\n")
            def trained(step, **data):
                log(step, **{"training/global_step": step, **data})
            OURS = json.loads(%r)
        """
        source = textwrap.dedent(head) % json.dumps(OURS) + textwrap.dedent(body)
        (folder / "main_ppo.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(folder.parents[1]))

    return write


def run(folder, **calls):
    recipe = load_recipe(
        None,
        [
            "engine=verl",
            "policy=some/policy",
            "data.path=x.parquet",
            "max_steps=4",
            "save_steps=2",
            "optimizer.iterations=2",
        ],
    )
    paths = run_paths(folder, evaluated=True)
    steps, results = [], []
    done = train_with_verl(
        recipe,
        "one",
        paths,
        calls.get("record", lambda step, metrics: steps.append((step, metrics))),
        lambda step, result: results.append((step, result)),
    )
    return done, steps, results


def test_metrics_and_evaluations_are_followed(verl, tmp_path):
    verl("""
        exact = {"val-aux/toolrest/exact_match/mean@1": 0.25}
        log(0, **{"val-core/toolrest/reward/mean@1": 1.0}, **exact)
        trained(1, **OURS, **{"actor/grad_norm": 2.0})
        trained(2, **OURS, **{"val-core/toolrest/reward/mean@1": 3.0})
    """)
    done, steps, results = run(tmp_path)
    assert done == 4
    assert [step for step, _ in steps] == [2, 4]
    assert steps[0][1]["grad_norm"] == 2.0
    assert results == [
        (0, {"greedy_reward": 1.0, "greedy_exact_match": 0.25}),
        (4, {"greedy_reward": 3.0}),
    ]
    assert "verl.trainer.main_ppo" in (tmp_path / "verl" / "command.sh").read_text()


def test_a_step_without_weights_stops_the_run(verl, tmp_path):
    verl("""
        trained(1, **{"actor/grad_norm": 2.0})
        time.sleep(60)
    """)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"trained without toolrest's weights.*log\.txt"):
        run(tmp_path)
    assert time.monotonic() - started < 30


def test_a_failure_is_one_line_with_the_logs_path(verl, tmp_path):
    verl("""
        print("Unknown trainer is what a line before said")
        raise ValueError("Unknown trainer 'toolrest_sync'. Available trainers: sync.")
    """)
    with pytest.raises(InputError, match=r"ended with 1: ValueError: Unknown trainer.*log\.txt"):
        run(tmp_path)


def test_an_end_before_the_end_is_no_success(verl, tmp_path):
    verl("trained(1, **OURS)")
    with pytest.raises(InputError, match="after 1 of 2 steps"):
        run(tmp_path)


def test_verl_holds_the_run_when_the_process_that_started_it_is_gone(verl, tmp_path, monkeypatch):
    verl("""
        trained(1, **OURS)
        open(os.environ["VERL_FILE_LOGGER_PATH"] + ".pid", "w").write(str(os.getpid()))
        time.sleep(60)
    """)
    monkeypatch.setattr(launch_verl, "_end", lambda process, how: None)

    def gone(step, metrics):
        raise RuntimeError("as if killed")

    folder = RunFolder(tmp_path)
    with pytest.raises(RuntimeError, match="as if killed"):
        run(tmp_path, record=gone)
    with pytest.raises(TakenError, match="another process is training there"), folder.held():
        pass
    number = tmp_path / "verl" / "metrics-000000.jsonl.pid"
    while not number.is_file() or not number.read_text():
        time.sleep(0.05)
    os.kill(int(number.read_text()), signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(int(number.read_text()), 0)
    with folder.held():
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_handed_on(verl, tmp_path, number):
    """Also where they are ignored, as behind nohup."""
    verl("""
        import signal
        def ended(number, frame):
            open(os.environ["VERL_FILE_LOGGER_PATH"] + ".ended", "w").close()
            sys.exit(1)
        signal.signal(signal.SIGINT, ended)
        trained(1, **OURS)
        time.sleep(60)
    """)

    def interrupt(step, metrics):
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()

    before = signal.signal(number, signal.SIG_IGN)
    try:
        done, _, _ = run(tmp_path, record=interrupt)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert done == 2
    assert (tmp_path / "verl" / "metrics-000000.jsonl.ended").is_file()


def test_a_second_signal_leaves_nothing_of_verl_alive(verl, tmp_path):
    """Neither verl, which hears nothing, nor what it has started."""
    verl("""
        import signal, subprocess
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(os.environ["VERL_FILE_LOGGER_PATH"] + ".pids", "w") as file:
            file.write(f"{os.getpid()} {worker.pid}")
        trained(1, **OURS)
        time.sleep(60)
    """)

    def interrupt_twice(step, metrics):
        for seconds in (0.2, 0.6):
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, record=interrupt_twice)
    assert time.monotonic() - started < 30
    pids = (tmp_path / "verl" / "metrics-000000.jsonl.pids").read_text().split()
    until = time.monotonic() + 5
    while (left := [pid for pid in map(int, pids) if alive(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(pids) == 2 and not left


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_the_step_to_resume_from(tmp_path):
    assert last_step(tmp_path) == 0
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("6")
    (tmp_path / "global_step_6").mkdir()
    with pytest.raises(InputError, match="was not written by this engine"):
        last_step(tmp_path)
    (tmp_path / "global_step_6" / "toolrest_state.json").write_text("{}")
    assert last_step(tmp_path) == 6


def test_without_verl_the_error_names_the_extra(monkeypatch):
    def missing(name):
        raise verl_environment.metadata.PackageNotFoundError

    monkeypatch.setattr(verl_environment.metadata, "version", missing)
    with pytest.raises(InputError, match=r"verl missing.*pip install 'toolrest\[verl\]'"):
        launch_verl.check_machine()


def test_without_gpus_the_error_says_so(monkeypatch):
    versions = {"verl": "0.9.1", "ray": "2.60.0", "TransferQueue": "0.1.11"}
    monkeypatch.setattr(
        verl_environment.metadata, "version", lambda name: versions.get(name, "2.13.0+cpu")
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check = missing_for_launch()
    assert check is not None and check.name == "GPUs"


def test_versions_that_do_not_fit_are_named(monkeypatch):
    versions = {"verl": "0.9.1", "transformers": "5.23.0", "torch": "2.13.0+cpu"}
    monkeypatch.setattr(
        verl_environment.metadata, "version", lambda name: versions.get(name, "9.9")
    )
    checks = {check.name: check for check in check_verl()}
    assert checks["verl"].ok and checks["torch"].ok
    assert not checks["transformers"].ok
    assert "environment of its own" in checks["transformers"].mend


def test_the_checks_import_no_verl():
    code = (
        "import sys; from toolrest.engines.verl.environment import check_verl; check_verl(); "
        "assert 'verl' not in sys.modules and 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def arguments(tmp_path, monkeypatch, embedded_tokenizer):
    """`toolrest train` on rows of its own, in an empty folder, as if this machine had GPUs."""
    rows = tmp_path / "rows.parquet"
    write_rows(
        make_samples(Split.TRAIN, 40),
        rows,
        embedded_tokenizer,
        get_dialect("rlla"),
        written_out=False,
    )
    monkeypatch.chdir(tmp_path)
    for place in ("job", "launch"):
        monkeypatch.setattr(f"toolrest.engines.verl.{place}.check_machine", lambda: None)
    policy = policy_path(Recipe())
    return ["train", "engine=verl", f"policy={policy}", f"data.path={rows}", "name=one",
            "max_steps=4", "save_steps=2", "optimizer.iterations=2", "--quiet"]  # fmt: skip


def test_the_whole_job_and_a_resumed_one(verl, tmp_path, arguments):
    verl("""
        checkpoints = [a.split("=", 1)[1] for a in sys.argv if "default_local_dir=" in a][0]
        newest = os.path.join(checkpoints, "latest_checkpointed_iteration.txt")
        exact, reward = "val-aux/toolrest/exact_match/mean@1", "val-core/toolrest/reward/mean@1"
        if not os.path.exists(newest):
            log(0, **{exact: 0.25, reward: 1.0})
            trained(1, reward=1.5, **OURS)
            os.makedirs(os.path.join(checkpoints, "global_step_1"))
            open(os.path.join(checkpoints, "global_step_1", "toolrest_state.json"), "w").close()
            open(newest, "w").write("1")
            raise RuntimeError("the machine went away")
        trained(2, reward=2.5, **OURS, **{exact: 0.75, reward: 3.0})
    """)
    failed = CliRunner().invoke(app, arguments)
    assert failed.exit_code == 2
    assert "the machine went away" in failed.output
    run = tmp_path / "runs" / "one"
    assert "Traceback" in (run / "verl" / "log.txt").read_text()
    resumed = CliRunner().invoke(app, ["train", "--resume", "runs/one", "--quiet"])
    assert resumed.exit_code == 0, resumed.output
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 4
    assert summary["before"] == {"n": 4, "greedy_reward": 1.0, "greedy_exact_match": 0.25}
    assert summary["after"] == {"n": 4, "greedy_reward": 3.0, "greedy_exact_match": 0.75}
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert json.loads((run / "data.json").read_text())["train"] == 36
    assert load_recipe(run / "recipe.yaml", []).engine.name == "verl"
    assert (run / "report.html").is_file()
    assert "75.0%" in resumed.output


def test_the_whole_job_in_an_environment(verl, tmp_path, arguments):
    verl("""
        exact, reward = "val-aux/toolrest/exact_match/mean@1", "val-core/toolrest/reward/mean@1"
        episode, turns = (f"val-aux/toolrest/{x}/mean@1" for x in ("episode_reward", "turns"))
        failed = "val-aux/toolrest/failed/mean@1"
        log(0, **{exact: 0.25, episode: 0.5, turns: 2.0, reward: 9.0, failed: 0.25})
        for step in (1, 2):
            trained(step, reward=1.5, **OURS, **{"episode/turns": 2.5})
        log(2, **{exact: 0.75, episode: 1.5, turns: 3.0, reward: 9.0, failed: 0.0})
    """)
    policy = policy_path(load_recipe(None, ["environment.source=world"]))
    acting = [each for each in arguments if not each.startswith(("data.path", "policy"))]
    more = ["environment={source: world, max_turns: 3, max_trajectory_tokens: 400, rows: 12}"]
    more += ["dialect=rlla", "evaluation.samples=4", "advantage.credit=turns"]
    found = CliRunner().invoke(app, [*acting, f"policy={policy}", *more])
    assert found.exit_code == 0, found.output
    run = tmp_path / "runs" / "one"
    summary = json.loads((run / "summary.json").read_text())
    first = {"greedy_reward": 0.5, "greedy_exact_match": 0.25, "greedy_turns": 2.0, "failed": 1}
    assert summary["before"] == {"n": 4, **first}
    assert summary["after"]["greedy_reward"] == 1.5
    command = (run / "verl" / "command.sh").read_text()
    assert "default_agent_loop=toolrest_episode" in command and "style:plain" in command
    table = parquet.read_table(run / "verl" / "heldout.parquet").to_pylist()
    assert [row["extra_info"]["heldout"] for row in table] == [True] * 4
    assert "split" in json.loads(table[0]["extra_info"]["row"])
    assert parquet.read_table(run / "verl" / "train.parquet").num_rows == 12
    assert (run / "report.html").is_file()


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path, arguments, monkeypatch):
    def refuse():
        raise InputError("engine=verl: GPUs missing")

    monkeypatch.setattr("toolrest.engines.verl.launch.check_machine", refuse)
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "GPUs missing" in found.output
    assert not (tmp_path / "runs" / "one").exists()


def test_rows_that_cannot_be_written_leave_no_folder(tmp_path, arguments, monkeypatch):
    """The recipe is there before them, so that a run killed among them can be resumed."""

    def write(samples, path, *options, **more):
        assert (tmp_path / "runs" / "one" / "recipe.yaml").is_file()
        if path.stem == "heldout":
            raise InputError("the prompt's text has other tokens")
        path.parent.mkdir()
        path.touch()

    monkeypatch.setattr("toolrest.engines.verl.job.write_rows", write)
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "other tokens" in found.output
    assert not (tmp_path / "runs" / "one").exists()

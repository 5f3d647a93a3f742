"""The work of a comparison with processes that only pretend to train."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.experiments.cells import Cells, only_one
from toolrest.experiments.methods import read_methods
from toolrest.experiments.plan import CompareFolder, keep_plan, load_plan, make_plan
from toolrest.experiments.results import compare_methods, load_results
from toolrest.recipe import load_recipe

METHODS = ("grpo", "rest")


@pytest.fixture
def comparison(tmp_path):
    recipe = load_recipe(None, ["max_steps=2", "evaluation.samples=10", "evaluation.every=1"])
    folder = CompareFolder(tmp_path / "c")
    plan = make_plan(recipe, read_methods(",".join(METHODS)), (0, 1), "grpo", 1)
    return folder, keep_plan(folder, plan)


def finish(run, curve, steps=2):
    """Write what a finished run leaves, with these exact matches."""
    run.evaluation.mkdir(parents=True, exist_ok=True)
    results = [
        {"exact_match": v, "reward": v, "greedy_exact_match": v, "greedy_reward": v, "n": 10}
        for v in curve.values()
    ]
    points = [{"step": s, **result} for s, result in zip(curve, results, strict=True)]
    run.curve.write_text("".join(json.dumps(point) + "\n" for point in points))
    run.metrics.write_text(
        "".join(json.dumps({"step": s, "num_tokens": 10 * s}) + "\n" for s in range(1, steps + 1))
    )
    summary = {"before": results[0], "after": results[-1], "steps": steps, "seconds": 1.0}
    run.summary.write_text(json.dumps(summary))


class Pretending(Cells):
    """Starts a line of Python instead of training, and keeps the commands."""

    code = "pass"
    commands: list = []  # noqa: RUF012

    def _open(self, command, out, threads):
        self.commands.append(command)
        text = f"import time, sys; {self.code}"
        return subprocess.Popen([sys.executable, "-c", text], stdout=out, stderr=out)


@pytest.fixture
def cells(comparison):
    Pretending.commands = []
    return Pretending(*comparison)


def test_finished_runs_are_kept_and_unfinished_ones_go_on_or_begin_anew(cells):
    folder = cells.folder
    finish(folder.run("grpo", 0), {0: 0.1, 1: 0.2, 2: 0.3})
    stopped, broken = folder.run("rest", 0), folder.run("grpo", 1)
    checkpoint = stopped.checkpoints / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "toolrest_state.json").write_text("{}")
    stopped.recipe.write_text("")
    broken.path.mkdir()
    (broken.path / "half").write_text("")
    cells.run(2, lambda: None)
    resumed, anew, fresh = cells.commands
    assert resumed[-2:] == ["--resume", str(stopped.path.absolute())]
    assert checkpoint.is_dir()
    assert anew[-2:] == ["seed=1", "name=grpo-seed1"]
    assert not broken.path.exists()
    assert fresh[-3:] == [str(folder.recipe("rest").absolute()), "seed=1", "name=rest-seed1"]
    assert folder.run("grpo", 0).summary.is_file()


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_not_removed(cells):
    run = cells.folder.run("grpo", 0)
    run.path.mkdir(parents=True)
    run.recipe.write_text("")
    with run.held():
        cells.run(1, lambda: None)
    assert "another process is training there" in cells.failed[("grpo", 0)]
    assert sorted(path.name for path in run.path.iterdir()) == ["lock", "recipe.yaml"]
    assert len(cells.commands) == len(cells.plan.cells()) - 1, "the others go on"


@pytest.mark.slow
def test_a_failed_run_leaves_its_last_line_and_the_others_go_on(cells):
    cells.code = "print('first'); print('toolrest: no such policy', file=sys.stderr); sys.exit(2)"
    cells.run(1, lambda: None)
    assert cells.failed == dict.fromkeys(cells.plan.cells(), "toolrest: no such policy")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_work_ends_the_runs(cells, error):
    cells.code = "time.sleep(60)"
    started = []

    def tick():
        started.extend(cells.running.values())
        raise error

    with pytest.raises(error):
        cells.run(2, tick)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"--out .*file: no folder"),
        only_one(CompareFolder(tmp_path / "file")),
    ):
        pass


def test_a_run_of_other_steps_is_named_and_not_aligned(comparison):
    """A run of 3 steps where the plan has 2 would move every seed's last value to step 1."""
    folder, plan = comparison
    finish(folder.run("grpo", 0), {0: 0.1, 1: 0.2, 2: 0.3})
    finish(folder.run("grpo", 1), {0: 0.1, 1: 0.2, 3: 0.3}, steps=3)
    with pytest.raises(InputError, match=r"grpo-seed1: it has 3 steps .* the plan has 2; remove"):
        load_results(folder, plan)


def test_a_run_without_evaluation_is_named(comparison):
    folder, plan = comparison
    run = folder.run("grpo", 0)
    finish(run, {0: 0.1, 2: 0.3})
    run.curve.unlink()
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps(summary | {"before": None, "after": None}))
    with pytest.raises(InputError, match="nothing was evaluated"):
        load_results(folder, plan)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_a_finished_run_that_cannot_be_read_is_named(comparison, text):
    folder, plan = comparison
    run = folder.run("grpo", 0)
    finish(run, {0: 0.1, 2: 0.3})
    if text is None:
        run.metrics.unlink()
    else:
        run.summary.write_text(text)
    with pytest.raises(InputError, match=r"grpo-seed0: a finished run that cannot be read"):
        load_results(folder, plan)


def test_seeds_that_do_not_get_there_are_counted(comparison):
    """Level (0.4 + 0.8) / 2 = 0.6. Baseline: never, and 1.5 of 2; method: 1, and never."""
    folder, plan = comparison
    finish(folder.run("grpo", 0), {0: 0.2, 1: 0.3, 2: 0.4})
    finish(folder.run("grpo", 1), {0: 0.2, 1: 0.4, 2: 0.8})
    finish(folder.run("rest", 0), {0: 0.2, 1: 0.6, 2: 0.8})
    finish(folder.run("rest", 1), {0: 0.2, 1: 0.3, 2: 0.5})
    found = compare_methods(load_results(folder, plan), "grpo")[1].seed_steps
    assert found is not None
    assert found.method == (pytest.approx(1), None)
    assert found.baseline == (None, pytest.approx(1.5))
    assert (found.never, found.baseline_never) == (1, 1)
    assert found.ratio.value == pytest.approx(3 / 3.5)


def test_tokens_are_those_of_the_seeds_of_both(comparison):
    """Seed 1 of the method used 1,000 times the tokens, and the baseline has no seed 1."""
    folder, plan = comparison
    for name in METHODS:
        finish(folder.run(name, 0), {0: 0.2, 1: 0.3, 2: 0.4})
    finish(folder.run("rest", 1), {0: 0.2, 1: 0.3, 2: 0.4})
    rows = [{"step": s, "num_tokens": 10_000 * s} for s in (1, 2)]
    folder.run("rest", 1).metrics.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert compare_methods(load_results(folder, plan), "grpo")[1].tokens == pytest.approx(1)


def invoke(monkeypatch, code, *arguments):
    monkeypatch.setattr("toolrest.experiments.cells.Cells", Pretending)
    monkeypatch.setattr(Pretending, "code", code)
    return CliRunner().invoke(app, ["compare", *arguments])


@pytest.mark.slow
def test_where_every_run_fails_the_reason_is_said(tmp_path, monkeypatch):
    out = tmp_path / "c"
    done = invoke(monkeypatch, "print('no such policy'); sys.exit(2)", "--out", str(out))
    assert done.exit_code == 1
    assert "grpo with seed 0 failed: no such policy" in done.output
    assert "no run of the baseline" not in done.output


@pytest.mark.slow
def test_a_comparison_grows_without_its_methods_being_named_again(tmp_path, monkeypatch):
    folder = CompareFolder(tmp_path / "c")
    out = ("--out", str(folder.path), "--seeds", "1")
    invoke(monkeypatch, "pass", "--methods", "grpo,rest", *out)
    invoke(monkeypatch, "pass", "--methods", "spans", *out)
    plan = load_plan(folder)
    assert [method.name for method in plan.methods] == ["grpo", "rest", "spans"]
    assert plan.baseline == "grpo"
    done = invoke(monkeypatch, "pass", "--methods", "gtpo", "--baseline", "rest", *out)
    assert done.exit_code == 1  # the pretended runs leave no result
    assert load_plan(folder).baseline == "rest"


def test_a_comparison_without_evaluation_is_refused_before_any_run(tmp_path, monkeypatch):
    done = invoke(monkeypatch, "pass", "evaluation.samples=0", "--out", str(tmp_path / "c"))
    assert done.exit_code == 2
    assert "evaluation.samples=0" in done.output
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_a_comparison_in_an_environment_is_of_tasks_done(tmp_path):
    """Rewards of single steps and of episodes have other scales, and are not drawn together."""
    recipe = load_recipe(None, ["environment.source=world", "max_steps=2", "evaluation.samples=10"])
    methods = read_methods("steps,trajectories,short:environment.max_turns=2")
    folder = CompareFolder(tmp_path / "c")
    plan = keep_plan(folder, make_plan(recipe, methods, (0, 1), "steps", 1))
    for number, (method, seed) in enumerate(plan.cells()):
        run = folder.run(method, seed)
        finish(run, {0: 0.1, 1: 0.2, 2: 0.3 + 0.1 * number})
        lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        run.metrics.write_text("".join(json.dumps(e | {"reward": 0.5}) + "\n" for e in lines))
    from toolrest.experiments.report import write_report
    from toolrest.experiments.sameness import differing

    said = [line for line in differing(folder, plan) if "measured" in line]
    rows = write_report(folder, plan, said)
    assert [row.difference and round(row.difference.value, 6) for row in rows] == [None, 0.1, 0.2]
    table = (folder.path / "compare.md").read_text()
    assert "| tasks done, % |" in table and "exact match" not in table
    assert "- short is trained and measured with environment.max_turns=2, and steps with" in table
    titles = (folder.path / "figures" / "reward.svg").read_text()
    assert "held out, sampled" in titles and "training rollouts" not in titles
    shown = (folder.path / "figures" / "exact_match.svg").read_text()
    assert "tasks done" in shown and "exact match" not in shown

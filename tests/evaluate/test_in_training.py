"""A policy that is being trained on benchmarks: asked what `toolrest evaluate` asks, and trained as
if nothing had been asked.
"""

import json
import shutil
from pathlib import Path

import pytest
from small_runs import FEW, metrics, questions, rows, toolrest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.doctor.preflight import preflight
from toolrest.errors import InputError
from toolrest.evaluate.bfcl.official import OfficialBFCL
from toolrest.evaluate.in_training import benchmark_options, check_benchmarks, check_wording
from toolrest.recipe import load_recipe
from toolrest.runs.folder import RunFolder

SETTINGS = (
    *(each for each in FEW if not each.startswith("data.")),
    *("max_steps=2", "evaluation.every=1", "evaluation.path=own.jsonl"),
    "optimizer.learning_rate=1e-3",
)
BENCHMARKS = ("evaluation.benchmarks=world", "evaluation.benchmark_items=3")


def curve(run):
    lines = (run / "evaluation" / "curve.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(a run with benchmarks, the same without, what the first has said)"""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ran"))
        rows(Path("own.jsonl"), 4)
        said = toolrest("train", "name=asked", *SETTINGS, *BENCHMARKS)
        toolrest("train", "name=not", *SETTINGS)
        yield Path("runs/asked").absolute(), Path("runs/not").absolute(), said


@pytest.mark.slow
def test_every_evaluation_has_the_benchmarks_and_training_is_the_same(ran):
    asked, plain, said = ran
    assert metrics(asked) == metrics(plain)
    names = ["world/all", "world/calls"]
    for found, other in zip(curve(asked), curve(plain), strict=True):
        assert {key: found[key] for key in other} == other
        assert set(names) <= found.keys() and not any("/" in key for key in other)
    summary = json.loads((asked / "summary.json").read_text())
    for step, point in zip((0, 1, 2), curve(asked), strict=True):
        assert point["step"] == step
        folder = asked / "evaluation" / ("world-before" if step == 0 else f"world-step-00000{step}")
        written = result(folder)
        assert written["all"]["n"] == 3 and written["settings"]["steps"] == step
        assert point["world/all"] == written["all"]["accuracy"]
    assert summary["after"]["world/all"] == curve(asked)[-1]["world/all"]
    assert summary["before"]["world/all"] == curve(asked)[0]["world/all"]
    assert "world/all" in said and "evaluating on world, 3 items" in said


@pytest.mark.slow
def test_they_are_the_answers_of_toolrest_evaluate(ran, monkeypatch):
    asked, _, _ = ran
    monkeypatch.chdir(asked.parents[1])
    words = ("--on", "world", "--limit", "3", "--batch-size", "16", "--quiet")
    toolrest("evaluate", "runs/asked", *words, "--checkpoint", "2", "--out", "again")
    inside, again = asked / "evaluation" / "world-step-000002", Path("again")
    for file in ("scores.jsonl", "failures.jsonl"):
        assert (inside / file).read_bytes() == (again / file).read_bytes()
    own, other = (json.loads((at / "settings.json").read_text()) for at in (inside, again))
    apart = {key for key in own | other if own.get(key) != other.get(key)}
    assert apart == {"policy", "weights", "steps"}
    before = asked / "evaluation" / "world-before"
    assert "difference" in toolrest("evaluate", "--compare", "again", str(before))


@pytest.mark.slow
def test_what_is_written_is_read_and_what_is_ahead_is_dropped(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ran[0].parents[1], tmp_path, dirs_exist_ok=True)
    run = RunFolder(Path("runs/asked").absolute())
    kept = run.evaluation / "world-before" / "result.json"
    written = kept.stat().st_mtime_ns
    run.summary.unlink()
    (run.evaluation / "world-step-000001.part").mkdir()
    shutil.rmtree(run.checkpoints / "checkpoint-2")
    (run.evaluation / "after.json").unlink()
    done = CliRunner().invoke(app, ["train", "--resume", "runs/asked"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert kept.stat().st_mtime_ns == written and curve(run.path) == curve(ran[0])
    assert not list(run.evaluation.glob("*.part"))
    run.summary.unlink()
    own = ran[0].parents[1] / "own.jsonl"  # which the recipe names
    text = own.read_text()
    try:
        own.write_text(text.replace("City 3", "City 4"))
        done = CliRunner().invoke(app, ["train", "--resume", "runs/asked"], env={"COLUMNS": "200"})
    finally:
        own.write_text(text)
    assert done.exit_code == 2 and "own.jsonl has changed" in done.output


def test_a_run_that_goes_back_drops_the_evaluations_ahead_of_it(tmp_path):
    run = RunFolder(tmp_path)
    names = (
        "bfcl-before",
        "bfcl-warm_start",
        "bfcl-step-000010",
        "bfcl-step-000020",
        "by-step-hand",
    )
    for name in (*names, "world-step-000030", "world-step-000040.part"):
        (run.evaluation / name).mkdir(parents=True)
    run.rewind(20)
    assert sorted(each.name for each in run.evaluation.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluation.benchmarks=bfcll"], "did you mean 'bfcl'"),
        (["evaluation.benchmarks=world,world"], "named twice"),
        (["evaluation.benchmark_items=3"], "there is no benchmark; give evaluation.benchmarks"),
        (["evaluation.bfcl_categories=live"], "without bfcl among"),
        (["evaluation.apibank=bank"], "without apibank among"),
        (["evaluation.benchmarks=apibank"], "needs evaluation.apibank"),
        (
            ["evaluation.benchmarks=world", "dialect=hermes", "data.path=x.jsonl"],
            "dialect=hermes: the world's prompts",
        ),
    ],
)
def test_benchmarks_that_cannot_be_asked_are_refused(words, said):
    with pytest.raises(InputError, match=said):
        load_recipe(None, words)


def test_what_is_missing_is_said_before_anything_is_spent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bank = load_recipe(None, ["evaluation.benchmarks=apibank", "evaluation.apibank=bank"])
    with pytest.raises(InputError, match=r"^evaluation.apibank=\S*bank: there is no level-1"):
        preflight(bank)
    questions(tmp_path / "bank")
    preflight(bank)
    (tmp_path / "bank" / "level-2-api_processed.json").write_text("[3]")
    with pytest.raises(InputError, match=r"level-2-api_processed.json: row 0"):
        preflight(bank)
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^evaluation.benchmarks=bfcl needs bfcl_eval.*pip"):
        preflight(load_recipe(None, ["evaluation.benchmarks=bfcl"]))


def test_an_unknown_category_of_bfcl_is_named(monkeypatch):
    monkeypatch.setattr(OfficialBFCL, "__init__", lambda self, folder: None)
    monkeypatch.setattr(OfficialBFCL, "close", lambda self: None)
    monkeypatch.setattr(OfficialBFCL, "release", "v4", raising=False)
    words = ["evaluation.benchmarks=bfcl", "evaluation.bfcl_categories=livve"]
    with pytest.raises(InputError, match=r"^evaluation.bfcl_categories: unknown category.*'live'"):
        check_benchmarks(load_recipe(None, words))
    known = load_recipe(None, [words[0], "evaluation.bfcl_categories=live,multi_turn"])
    check_benchmarks(known)
    options = benchmark_options(known, "bfcl")
    assert list(options.categories) == ["live", "multi_turn"] and options.limit is None


def test_a_policy_of_another_dialect_is_not_asked_the_worlds_tasks(tmp_path):
    recipe = load_recipe(None, ["evaluation.benchmarks=world", "dialect=auto"])
    fitted = recipe.model_copy(update={"dialect": "hermes"})
    with pytest.raises(InputError, match=r"the run's dialect is hermes"):
        check_wording(fitted, RunFolder(tmp_path))
    check_wording(recipe.model_copy(update={"dialect": "rlla"}), RunFolder(tmp_path))

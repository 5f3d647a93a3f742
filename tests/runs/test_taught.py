"""A policy of a run that was trained on rows which another run is evaluated on."""

import json
from pathlib import Path

import pytest
from small_runs import rows

from toolrest.experiments.methods import read_methods
from toolrest.experiments.plan import make_plan, plan_taught_rows
from toolrest.recipe import dump_recipe, load_recipe
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import data_origins
from toolrest.runs.taught import find_taught_rows, run_of_policy

OWN = ("data.path=own.jsonl", "dialect=hermes")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows(Path("own.jsonl"))
    rows(Path("other.jsonl"), 13)


def run(name, *words):
    """A run that has been trained by a recipe, with a checkpoint and a warm start."""
    made = RunFolder(Path("runs", name))
    recipe = load_recipe(None, [*OWN, *words])
    for folder in (made.warm_start, made.checkpoints / "checkpoint-2"):
        folder.mkdir(parents=True)
    made.recipe.write_text(dump_recipe(recipe))
    made.data.write_text(json.dumps({"origins": data_origins(recipe.sources)}))
    return made


def told(*words):
    return find_taught_rows(load_recipe(None, [*OWN, *words]))


def test_a_policys_run_is_found_above_it():
    made = run("sft")
    for folder in (made.warm_start, made.checkpoints / "checkpoint-2"):
        assert run_of_policy(folder.resolve()).path == made.path.resolve()
    assert run_of_policy(Path("own.jsonl").resolve()) is None


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((), ("seed=1",)),
        ((), ("data.heldout_fraction=0.5",)),
        ((), ("data.max_prompt_tokens=99",)),
        (("data.heldout_fraction=0.0", "evaluation.path=other.jsonl"), ()),
        (("evaluation.samples=0",), ()),
        ((), ("data.path=other.jsonl", "evaluation.path=own.jsonl")),
    ],
)
def test_rows_that_were_trained_on_and_are_evaluated_on_are_told(before, now):
    run("sft", *before)
    said = told("policy=runs/sft/warm_start", *now)
    assert said is not None and "the run sft" in said and "own.jsonl" in said
    assert "evaluation.path" in said and "seed=0" in said


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((), ()),
        (("optimizer.learning_rate=0.1",), ("max_steps=7", "weighting.scheme=uniform")),
        ((), ("seed=1", "evaluation.samples=0")),
        ((), ("evaluation.path=other.jsonl",)),
        ((), ("data.path=other.jsonl", "seed=1")),
        (("data.path=other.jsonl",), ("seed=1",)),
    ],
)
def test_nothing_is_told_where_no_such_row_is_known(before, now):
    run("sft", *before)
    assert told("policy=runs/sft/warm_start", *now) is None


def test_a_copy_of_the_rows_is_known_by_its_bytes():
    run("sft")
    Path("copy.jsonl").write_bytes(Path("own.jsonl").read_bytes())
    assert "copy.jsonl" in told("policy=runs/sft/warm_start", "data.path=copy.jsonl", "seed=1")


def test_a_policy_of_a_policy_is_followed_back():
    run("first")
    run("second", "policy=runs/first/warm_start")
    assert told("policy=runs/second/warm_start") is None
    assert "first" in told("policy=runs/first/warm_start", "seed=1")
    run("third", "policy=runs/first/warm_start", "data.path=other.jsonl", "seed=1")
    assert "the run first" in told("policy=runs/third/checkpoints/checkpoint-2", "seed=1")


def test_what_cannot_be_read_is_not_known():
    made = run("sft")
    made.data.write_text("{")
    assert told("policy=runs/sft/warm_start", "seed=1") is None
    made.recipe.write_text("max_steps: [")
    assert told("policy=runs/sft/warm_start", "seed=1") is None
    assert told("policy=embedded", "seed=1") is None


def test_each_seed_of_a_comparison_holds_out_other_rows():
    run("sft")
    recipe = load_recipe(None, [*OWN, "policy=runs/sft/warm_start"])
    methods = read_methods("grpo,rest")
    assert plan_taught_rows(make_plan(recipe, methods, (0,), "grpo", 1)) is None
    assert "the run sft" in plan_taught_rows(make_plan(recipe, methods, (0, 1), "grpo", 1))

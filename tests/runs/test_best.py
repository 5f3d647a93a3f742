"""Which checkpoint of a run is its best, and when nothing gets better any more."""

import json

import pytest

from toolrest.errors import InputError
from toolrest.recipe import load_recipe, parse_recipe
from toolrest.runs.best import (
    best_point,
    best_step,
    curve_of,
    evaluations_since_best,
    has_ended,
    keep_best,
)
from toolrest.runs.checkpoints import CHECKPOINT_STATE
from toolrest.runs.ending import ended_early
from toolrest.runs.folder import RunFolder

JUDGED = {"every": 1, "save_best": True}


@pytest.mark.parametrize(
    ("values", "since"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.1, 0.5, 0.6], 0),
        ([0.6, 0.5, 0.1], 2),
        ([0.1, 0.6, 0.6, 0.6], 2),  # as good is no better
        ([0.1, 0.6, 0.2, 0.7, 0.3], 1),
    ],
)
def test_evaluations_are_counted_since_the_first_of_the_best(values, since):
    points = list(enumerate(values))
    assert evaluations_since_best(points) == since
    assert not has_ended(points, None) and not has_ended(points, since + 1)
    assert not since or has_ended(points, since)


def test_the_best_of_equal_points_is_the_last_and_of_these_steps():
    points = [(0, 0.9), (2, 0.5), (4, 0.7), (6, 0.7), (8, 0.8)]
    assert best_point(points, {2, 4, 6}) == (6, 0.7)
    assert best_point(points, {2}) == (2, 0.5)
    assert best_point(points, {3}) is None and best_point([], {0}) is None


def run_with(folder, curve, checkpoints=()):
    run = RunFolder(folder)
    run.evaluation.mkdir(parents=True)
    lines = [json.dumps({"step": step, **found}) + "\n" for step, found in curve]
    run.curve.write_text("".join(lines))
    for step in checkpoints:
        whole = run.checkpoints / f"checkpoint-{step}"
        whole.mkdir(parents=True)
        (whole / CHECKPOINT_STATE).write_text('{"files": {}}')
    return run


def exact(*values):
    return [(step, {"exact_match": value, "reward": -value}) for step, value in enumerate(values)]


def test_the_best_checkpoint_is_named_with_what_it_was_found_by(tmp_path):
    run = run_with(tmp_path, exact(0.9, 0.2, 0.5, 0.1), (1, 2, 3))
    (run.checkpoints / "checkpoint-9").mkdir()  # not whole
    for metric, best in ((None, 2), ("exact_match", 2), ("reward", 3)):
        recipe = parse_recipe({"evaluation": JUDGED | {"metric": metric}}, "x")
        keep_best(run, recipe)
        assert best_step(run, recipe) == best
        found = json.loads(run.best.read_text())
        value = {2: 0.5, 3: -0.1}[best]
        assert found == {
            "step": best,
            "checkpoint": f"checkpoints/checkpoint-{best}",
            "metric": metric or "exact_match",
            "value": value,
        }
    assert best_step(run, recipe, also=0) == 3 and best_step(run, parse_recipe({}, "x")) is None


def test_nothing_is_named_where_no_checkpoint_was_evaluated(tmp_path):
    run = run_with(tmp_path, exact(0.9, 0.2), (5,))
    keep_best(run, parse_recipe({"evaluation": JUDGED}, "x"))
    assert not run.best.exists()


def test_a_run_ends_early_at_the_evaluation_that_uses_its_patience_up(tmp_path):
    run = run_with(tmp_path, exact(0.3, 0.5, 0.4, 0.45, 0.2))
    recipe = parse_recipe({"max_steps": 9, "evaluation": {"every": 1, "patience": 3}}, "x")
    assert [ended_early(run, recipe, step) is None for step in range(6)] == [
        *(True, True, True, True),
        *(False, True),  # nothing is known of step 5
    ]
    said = ended_early(run, recipe, 4)
    assert said is not None
    assert "after step 4 of 9" in said and "best after step 1, 0.5, and now it is 0.2" in said
    at_the_end = parse_recipe({"max_steps": 4, "evaluation": {"every": 1, "patience": 3}}, "x")
    assert ended_early(run, at_the_end, 4) is None


def test_a_curve_that_lacks_the_number_is_refused_by_its_file(tmp_path):
    run = run_with(tmp_path, exact(0.1))
    assert curve_of(run, "exact_match") == [(0, 0.1)]
    with pytest.raises(InputError, match=r"curve.jsonl: a broken line"):
        curve_of(run, "greedy_reward")


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (["evaluation.save_best=true"], "evaluation.every=10"),
        (["evaluation.patience=2"], "evaluation.every=10"),
        (["evaluation.metric=reward"], "evaluation.every=10"),
        (["evaluation.save_best=true", "evaluation.every=1", "evaluation.samples=0"], "samples"),
        (["evaluation.patience=2", "evaluation.every=1", "method=sft"], "leave it out"),
        (
            ["evaluation.save_best=true", "evaluation.every=3", "optimizer.iterations=2"],
            "use 4",
        ),
    ],
)
def test_what_would_be_ignored_is_refused_with_the_mend(words, mend):
    with pytest.raises(InputError, match=mend):
        load_recipe(None, words)


def test_a_comparison_trains_all_its_runs_for_the_same_steps():
    from toolrest.experiments.methods import Method, check_methods

    recipe = load_recipe(None, ["evaluation.every=1"])
    with pytest.raises(InputError, match=r"evaluation.patience=2: all runs of a comparison"):
        check_methods(recipe, [Method("a", ("evaluation.patience=2",))])

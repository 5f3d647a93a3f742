"""How long a comparison is said to take."""

import json

import pytest
from grids import RECIPE, plan_of

from toolrest.errors import InputError
from toolrest.experiments import ahead
from toolrest.experiments.plan import CompareFolder


def said_of(folder, plan, jobs=2):
    lines = []
    ahead.say_ahead(folder, plan, jobs, lines.append)
    return lines


def finish(folder, plan, count, seconds=60.0):
    for cell in plan.cells()[:count]:
        run = folder.run(*cell)
        run.path.mkdir(parents=True)
        run.summary.write_text(json.dumps({"seconds": seconds}))


def test_finished_runs_tell_the_time_of_the_others(tmp_path):
    folder, plan = CompareFolder(tmp_path), plan_of()
    finish(folder, plan, 3)
    [line] = said_of(folder, plan)
    assert line == (
        "5 runs of about 60 seconds (the mean of the 3 that are finished), 2 at once: about 3.0 "
        "minutes in all; those that collapse end earlier"
    )


def test_nothing_is_said_where_nothing_is_left(tmp_path):
    folder, plan = CompareFolder(tmp_path), plan_of()
    finish(folder, plan, 8)
    assert said_of(folder, plan) == []


def test_a_generation_is_timed_where_nothing_is_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "_timed", lambda folder, recipe, threads, at_once: 30.0 * at_once)
    lines = said_of(CompareFolder(tmp_path), plan_of(), jobs=3)
    assert lines[0] == "8 runs; one generation is timed first"
    assert (
        "8 runs of about 1.5 minutes (reckoned from one generation), 3 at once: about 4.5"
        in lines[1]
    )


@pytest.mark.slow
def test_the_time_of_one_generation_is_that_of_a_real_one(tmp_path):
    small = RECIPE | {"rollout": RECIPE["rollout"] | {"max_response_tokens": 16}}
    killed = tmp_path / "timed-before"
    killed.mkdir()
    found = ahead._timed(CompareFolder(tmp_path), plan_of(recipe=small).recipe, 1, 1)
    assert 1.0 < found < 300.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_generation_that_fails_is_said(tmp_path):
    wrong = plan_of().recipe.model_copy(update={"policy": str(tmp_path / "none")})
    with pytest.raises(InputError, match=r"one generation, which was to tell.*failed: .*none"):
        ahead._timed(CompareFolder(tmp_path), wrong, 1, 1)

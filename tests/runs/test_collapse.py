"""Collapse: by hand, and in a run's folder."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolrest.errors import InputError
from toolrest.recipe import parse_recipe
from toolrest.recipe.collapse import Collapse
from toolrest.runs.collapse import collapse_of, find_collapse
from toolrest.runs.ending import ended_early, to_go_on
from toolrest.runs.folder import RunFolder


def curve(*exact, form=1.0):
    return [{"step": 8 * k, "exact_match": e, "format": form} for k, e in enumerate(exact)]


def test_the_first_sign_is_told_with_its_numbers():
    found = find_collapse(curve(0.4, 0.7, 0.6, 0.55, 0.2), {}, Collapse())
    assert found is not None and (found.step, found.sign) == (24, "exact_match")
    assert found.text == "exact match is 55.0%, and was 70.0%"  # 15 points are as many
    assert find_collapse(curve(0.4, 0.7, 0.6, 0.551), {}, Collapse()) is None
    assert find_collapse(curve(0.4, 0.7, 0.2), {}, Collapse(exact_match=0.6)) is None


def test_format_counts_after_training_began_alone():
    found = find_collapse(curve(0.4, 0.4, form=0.899), {}, Collapse())
    assert found is not None and (found.step, found.sign) == (8, "format")
    assert find_collapse(curve(0.4, form=0.1), {}, Collapse()) is None
    assert find_collapse(curve(0.4, 0.4, form=0.9), {}, Collapse()) is None
    assert find_collapse(curve(0.4, 0.4, form=0.0), {}, Collapse(format=0.0)) is None


def test_entropy_is_the_mean_of_the_steps_before_an_evaluation():
    entropies = {1: 0.5, 8: 9.0, 12: 0.9, 13: 1.2, 14: 1.2, 15: 0.9, 16: 9.0}
    rule = Collapse(exact_match=1)
    found = find_collapse(curve(0.4, 0.4, 0.4), entropies, rule, 4)
    assert found is not None and (found.step, found.sign) == (16, "reasoning_entropy")
    assert found.text == "reasoning entropy is 1.05 nats, and began at 0.5"  # 4.2 / 4
    assert find_collapse(curve(0.4, 0.4, 0.4), entropies | {13: 0.9}, rule, 4) is None  # 3.9 / 4
    never = Collapse(reasoning_entropy=math.inf)
    assert find_collapse(curve(0.4, 0.4, 0.4), entropies, never, 4) is None


def test_what_was_not_measured_tells_nothing():
    assert find_collapse([], {}, Collapse()) is None
    old = [{"step": 0, "exact_match": 0.5}, {"step": 8, "exact_match": 0.4}]
    assert find_collapse(old, {}, Collapse()) is None
    assert find_collapse([{"step": 0}, {"step": 8}], {30: 1.0}, Collapse()) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0.01, 1))
def test_it_is_the_first_evaluation_that_lies_under_its_own_peak(exact, limit):
    found = find_collapse(curve(*exact), {}, Collapse(exact_match=limit))
    falls = [max(exact[:k]) - exact[k] for k in range(1, len(exact))]
    deep = [8 * k for k, fall in enumerate(falls, 1) if fall > limit - 1e-9]
    assert (None if found is None else found.step) == (deep[0] if deep else None)


def written(tmp_path, points, metrics=()):
    run = RunFolder(tmp_path)
    run.evaluation.mkdir(exist_ok=True)
    run.curve.write_text("".join(json.dumps(point) + "\n" for point in points))
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in metrics))
    return run


def plain(**collapse):
    return {
        "max_steps": 32,
        "save_steps": 8,
        "rollout": {"prompts_per_step": 8, "group_size": 2},
        "optimizer": {"mini_batch": 1},
        "evaluation": {"every": 8},
        "collapse": collapse,
    }


def recipe(**collapse):
    return parse_recipe(plain(**collapse), "x")


def test_a_run_ends_at_the_evaluation_that_shows_it_and_not_after(tmp_path):
    run = written(tmp_path, curve(0.4, 0.7, 0.5, 0.7))
    found = collapse_of(run, recipe())
    assert found is not None and found.step == 16
    assert ended_early(run, recipe(), 16) is None
    said = ended_early(run, recipe(end=True), 16)
    assert said == (
        "training ends after step 16 of 32: the policy has collapsed, exact match is 50.0%, and "
        "was 70.0% (collapse.end=true)"
    )
    assert to_go_on(said) == "collapse.end=false"
    assert ended_early(run, recipe(end=True), 24) is None  # it went on by end=false meanwhile
    assert collapse_of(run, recipe(), last=8) is None


def test_its_metrics_are_read_and_a_broken_line_is_named(tmp_path):
    rows = [{"step": s, "entropy/reasoning": 0.1 if s < 8 else 1.0} for s in range(1, 17)]
    run = written(tmp_path, curve(0.4, 0.4, 0.4), rows)
    found = collapse_of(run, recipe())
    assert found is not None and (found.step, found.sign) == (16, "reasoning_entropy")
    written(tmp_path, curve(0.4), [{"step": 1, "entropy/reasoning": "high"}])
    with pytest.raises(InputError, match=r"metrics.jsonl, line 1: broken"):
        collapse_of(run, recipe())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"evaluation": {"every": 0}}, "evaluation.every=8"),
        ({"evaluation": {"every": 12}}, "use 16"),
        ({"evaluation": {"every": 8, "samples": 0}}, "nothing is evaluated"),
        ({"method": "sft"}, "leave it out"),
        ({"environment": {"source": "world"}}, "is not measured"),
        ({"engine": {"name": "verl"}}, "verl trains to its last step"),
    ],
)
def test_an_end_that_would_never_come_is_refused(changed, said):
    values = plain(end=True)
    for key, value in changed.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    with pytest.raises(InputError, match=said):
        parse_recipe(values, "x")

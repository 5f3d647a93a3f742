"""Tables from cells whose figures were written by hand."""

import json

import numpy as np
import pytest

from toolrest.errors import InputError
from toolrest.experiments.methods import read_methods
from toolrest.experiments.plan import CompareFolder, keep_plan, make_plan
from toolrest.experiments.report import write_report
from toolrest.experiments.results import compare_methods, load_results
from toolrest.recipe import load_recipe


def result(exact, greedy=0.9, reward=3.0):
    return {
        "exact_match": exact,
        "reward": reward,
        "greedy_exact_match": greedy,
        "greedy_reward": 3.5,
        "n": 10,
    }


def write_cell(folder, method, seed, curve, tokens=100):
    run = folder.run(method, seed)
    run.evaluation.mkdir(parents=True)
    points = [{"step": step, **result(value)} for step, value in curve.items()]
    run.curve.write_text("".join(json.dumps(point) + "\n" for point in points))
    last = max(curve)
    run.metrics.write_text(
        "".join(
            json.dumps(
                {"step": s, "reward": 1.0 + s, "num_tokens": tokens * s, "entropy/name": 0.5}
            )
            + "\n"
            for s in range(1, last + 1)
        )
    )
    summary = {"before": result(curve[0]), "after": result(curve[last]), "steps": last}
    run.summary.write_text(json.dumps(summary | {"seconds": 10.0, "scheme": "x", "seed": seed}))


@pytest.fixture
def comparison(tmp_path):
    recipe = load_recipe(None, ["max_steps=4", "evaluation.samples=10", "evaluation.every=2"])
    plan = make_plan(recipe, read_methods("grpo,rest,spans"), (0, 1), "grpo", 1)
    folder = CompareFolder(tmp_path / "c")
    plan = keep_plan(folder, plan)
    write_cell(folder, "grpo", 0, {0: 0.4, 2: 0.5, 4: 0.6})
    write_cell(folder, "grpo", 1, {0: 0.4, 2: 0.6, 4: 0.8})
    write_cell(folder, "rest", 0, {0: 0.4, 2: 0.7, 4: 0.8}, tokens=50)
    write_cell(folder, "rest", 1, {0: 0.4, 2: 0.7, 4: 0.9}, tokens=50)
    return folder, plan


def test_the_table_by_hand(comparison):
    rows = {row.method: row for row in compare_methods(load_results(*comparison), "grpo")}
    assert rows.keys() == {"grpo", "rest"}  # spans has no finished run
    rest = rows["rest"]
    assert rest.exact_match.value == pytest.approx(0.85)
    assert rest.difference.value == pytest.approx(0.15)  # 0.2 and 0.1
    assert rest.p == rest.p_holm == 0.5  # 2 of 4 sign patterns
    assert rest.area.value == pytest.approx((0.55 + 0.75 + 0.55 + 0.8) / 4)
    assert rest.steps.level == pytest.approx(0.7)
    assert (rest.steps.step, rest.steps.ratio.value) == (2, 0.5)
    assert rest.tokens == pytest.approx(0.25)  # 2 of 4 steps, half the tokens a step
    grpo = rows["grpo"]
    assert grpo.difference is None and grpo.p is None
    assert grpo.steps.ratio.value == 1.0


def test_the_files_at_the_end(comparison):
    folder, plan = comparison
    write_report(folder, plan)
    table = (folder.path / "compare.md").read_text()
    assert "| rest | 2 | 85.0 (" in table and "| 0.500 (0.500) |" in table
    figures = json.loads((folder.path / "compare.json").read_text())
    assert figures["runs"]["rest"]["heldout"]["exact_match"]["values"] == [
        [0.4, 0.7, 0.8],
        [0.4, 0.7, 0.9],
    ]
    assert figures["table"][1]["steps"]["ratio"]["value"] == 0.5
    pictures = {path.name for path in (folder.path / "figures").iterdir()}
    assert {"exact_match.png", "exact_match.svg", "entropy.png", "reward.png"} <= pictures


def test_a_method_that_never_gets_there_is_said_to(comparison):
    folder, plan = comparison
    write_cell(folder, "spans", 0, {0: 0.1, 2: 0.2, 4: 0.3})
    write_cell(folder, "spans", 1, {0: 0.1, 2: 0.2, 4: 0.3})
    write_report(folder, plan)
    line = next(
        x for x in (folder.path / "compare.md").read_text().splitlines() if x.startswith("| spans")
    )
    assert "never (never to never)" in line
    figures = json.loads((folder.path / "compare.json").read_text())  # infinity is no JSON
    assert figures["table"][2]["steps"]["ratio"]["value"] is None


def test_pairs_are_the_seeds_of_both(comparison):
    folder, plan = comparison
    write_cell(folder, "spans", 1, {0: 0.4, 2: 0.7, 4: 0.9})
    spans = compare_methods(load_results(folder, plan), "grpo")[2]
    assert spans.seeds == 1
    assert spans.difference.value == pytest.approx(0.1)
    assert spans.difference.low is None


def test_without_curves_before_and_after_count(comparison):
    folder, plan = comparison
    for method in ("grpo", "rest"):
        for seed in (0, 1):
            folder.run(method, seed).curve.unlink()
    rows = compare_methods(load_results(folder, plan), "grpo")
    assert rows[1].difference.value == pytest.approx(0.15)
    assert rows[1].steps is None


def test_a_baseline_without_a_run_is_named(comparison):
    folder, plan = comparison
    for seed in (0, 1):
        folder.run("grpo", seed).summary.unlink()
    with pytest.raises(InputError, match="no run of the baseline grpo"):
        load_results(folder, plan)


ODD = ["x", [2], {}, None, True]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "1", "", *map(json.dumps, ODD)])
@pytest.mark.parametrize("name", ["summary", "metrics", "curve"])
def test_a_cell_that_somebody_else_wrote_is_refused_in_a_line(comparison, name, text):
    folder, plan = comparison
    getattr(folder.run("rest", 0), name).write_text(text + "\n")
    with pytest.raises(InputError, match="finished run that cannot be read"):
        load_results(folder, plan)


@pytest.mark.parametrize("value", [*ODD, 10**400])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("summary", "steps"), ("summary", "seconds"), ("metrics", "step"), ("curve", "step")),
        *(("curve", "exact_match"), ("curve", "greedy_exact_match"), ("curve", "reward")),
    ],
)
def test_a_field_of_a_wrong_kind_is_named(comparison, name, key, value):
    folder, plan = comparison
    path = getattr(folder.run("rest", 0), name)
    row = json.loads(path.read_text().splitlines()[0]) if name != "summary" else {}
    whole = row or json.loads(path.read_text())
    path.write_text(json.dumps(whole | {key: value}) + "\n")
    with pytest.raises(InputError, match=f"{key} should be a number"):
        load_results(folder, plan)


@pytest.mark.parametrize("value", [*ODD, 10**400])
def test_a_metric_of_a_wrong_kind_is_not_there(comparison, value):
    folder, plan = comparison
    path = folder.run("rest", 0).metrics
    rows = [json.loads(line) | {"num_tokens": value} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rest = next(r for r in load_results(folder, plan) if r.name == "rest")
    assert np.isnan(rest.metrics["num_tokens"][1][0]).all()
    assert not np.isnan(rest.metrics["num_tokens"][1][1]).any()


@pytest.mark.parametrize("value", [[], "x", 1, {}])
def test_a_result_at_an_end_of_a_wrong_kind_is_refused(comparison, value):
    folder, plan = comparison
    run = folder.run("rest", 0)
    run.curve.unlink()
    run.summary.write_text(json.dumps(json.loads(run.summary.read_text()) | {"after": value}))
    with pytest.raises(InputError, match="finished run that cannot be read"):
        load_results(folder, plan)

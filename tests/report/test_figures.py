"""Figures for papers: which runs are one line, what its band is, and what the files say."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.evaluate.intervals import wilson
from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.page_of_runs.figure_drawing import COLUMN, looks, shown_labels
from toolrest.report.page_of_runs.figure_lines import (
    blocks,
    collect_whole,
    course,
    lines_of,
    point,
    share_course,
)
from toolrest.report.page_of_runs.figures import write_figures

REGIONS = ("format", "name", "reasoning")
LONG = "qwen3-4b-a-run-with-a-name-that-no-legend-holds-" * 4


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def a_run(name, rewards=(1.0, 2.0, 3.0), exact=(0.25, 0.5), **settings):
    """A run of a few steps with a curve of two evaluations on eight tasks."""
    folder = Path("runs") / name
    (folder / "evaluation").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe(name="n", **settings)))
    rows = [
        {"step": n, "reward": reward} | {f"entropy/{r}": 0.5 for r in REGIONS}
        for n, reward in enumerate(rewards, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    points = [{"step": 3 * n, "n": 8, "exact_match": share} for n, share in enumerate(exact)]
    (folder / "evaluation/curve.jsonl").write_text("".join(json.dumps(p) + "\n" for p in points))
    for when, found in zip(("before", "after"), points, strict=True):
        (folder / f"evaluation/{when}.json").write_text(json.dumps(found))
    return folder


def lines(*folders):
    return lines_of([collect_whole(folder) for folder in folders])


def test_seeds_are_one_line_and_other_recipes_others():
    other = {"weighting": {"scheme": "uniform"}}
    found = lines(
        a_run("rest-seed0", seed=0),
        a_run("grpo-1", seed=1, **other),
        a_run("rest-seed10", seed=10),
        a_run("grpo-12", seed=12, **other),
        a_run("alone", seed=3, max_steps=7),
    )
    assert [(line.label, len(line.runs)) for line in found] == [
        *(("rest", 2), ("grpo", 2), ("alone", 1))
    ]
    assert found[0].unit == "seeds"
    nameless = lines(a_run("a", seed=5), a_run("b", seed=6))
    assert [line.label for line in nameless] == ["rest"]


def test_a_line_is_the_mean_and_its_band_the_range_at_the_steps_that_all_have():
    (line,) = lines(a_run("s-0", seed=0), a_run("s-1", (3.0, float("nan")), seed=1))
    found = course(line, "series", "reward")
    assert found.steps.tolist() == [1, 2] and found.runs == 2
    assert found.middle[0] == 2.0 and np.isnan(found.middle[1])
    assert (found.low[0], found.high[0]) == (1.0, 3.0)
    assert course(line, "series", "grad_norm") is None


def test_long_series_are_means_of_consecutive_steps():
    assert blocks(np.array([[1.0, 3.0, 5.0, 7.0, 9.0]]), 2).tolist() == [[2.0, 6.0, 9.0]]
    (line,) = lines(a_run("long", [float(n) for n in range(161)]))
    found = course(line, "series", "reward")
    assert found.window == 3 and len(found.steps) == 54
    assert (found.steps[0], found.middle[0]) == (2.0, 1.0)
    (line,) = lines(a_run("longer", [float(n) for n in range(800)]))  # the page shows 400 points
    found = course(line, "series", "reward")
    assert found.window == 10 and len(found.steps) == 80
    assert (found.steps[-1], found.middle[-1]) == (795.5, 794.5)


def test_held_out_shares_have_wilsons_interval_of_one_run_and_the_range_of_several():
    (alone,) = lines(first := a_run("s-0", seed=0))
    found = share_course(alone, "exact_match")
    assert [(low, high) for low, high in zip(found.low, found.high, strict=True)] == [
        pytest.approx(wilson(2, 8)),
        pytest.approx(wilson(4, 8)),
    ]
    after = point(alone, "exact match, sampled", "after")
    assert (after.value, after.low, after.high) == (0.5, *wilson(4, 8))
    (both,) = lines(first, a_run("s-1", exact=(0.25, 1.0), seed=1))
    found = share_course(both, "exact_match")
    assert (found.middle[1], found.low[1], found.high[1]) == (0.75, 0.5, 1.0)
    after = point(both, "exact match, sampled", "after")
    assert (after.value, after.low, after.high, after.each) == (0.75, 0.5, 1.0, (0.5, 1.0))
    assert point(both, "exact match, greedy", "after") is None


def test_ten_lines_differ_in_colour_or_dash_and_long_names_are_short_and_different():
    found = looks([f"run {n}" for n in range(10)])
    assert len({(look.colour, str(look.dash)) for look in found}) == 10
    shown = shown_labels([LONG + "a", LONG + "b", "short"])
    assert len(set(shown)) == 3 and shown[2] == "short"
    assert all(len(line) <= 42 for label in shown for line in label.split("\n"))


def test_the_command_writes_every_format_and_what_they_show():
    a_run("a-seed1", seed=1)
    a_run("a-seed2", seed=2)
    a_run("_$x$", max_steps=7)
    folders = ["runs/a-seed1", "runs/a-seed2", "runs/_$x$"]
    done = CliRunner().invoke(app, ["report", *folders, "--figures", "figures"])
    assert done.exit_code == 0, done.output
    made = {path.name for path in Path("figures").iterdir()}
    names = ("reward", "exact_match", "heldout", "entropy")
    drawn = {f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")}
    assert made == drawn | {"figures.txt"}
    told = Path("figures/figures.txt").read_text()
    assert "reward: reward; mean and range of 2 seeds" in told
    assert "band of a single run: Wilson's 95 % interval" in told
    assert "a-seed2, seed 2" in told
    picture = Path("figures/entropy.svg").read_text()
    assert all(f">{text}<" in picture for text in (*REGIONS, "a (2 seeds)", "_$x$"))


def test_the_legend_is_whole_within_the_picture():
    """Of ten runs with names that are too long for a column."""
    import matplotlib

    from toolrest.report.page_of_runs.figure_drawing import STYLE, Panel, draw_courses
    from toolrest.report.page_of_runs.figure_lines import Course

    steps = np.array([1.0, 2.0])
    with matplotlib.rc_context(STYLE):
        panel = Panel("", [Course(steps, steps + n) for n in range(10)])
        figure = draw_courses([panel], looks([f"{LONG}{n}" for n in range(10)]), across="s", up="r")
        figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert figure.get_figwidth() == COLUMN and len(legend.get_texts()) == 10
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    assert figure.axes[0].get_window_extent().y0 >= box.y1


def test_a_run_named_twice_and_too_many_lines_are_one_line():
    folder = a_run("a")
    with pytest.raises(InputError, match="named twice"):
        write_figures([folder, Path("runs/../runs/a")], Path("figures"))
    many = [a_run(f"r{n}", max_steps=n + 1) for n in range(36)]
    with pytest.raises(InputError, match="36 different runs: figures tell 35 lines apart"):
        write_figures(many, Path("figures"))
    Path("file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_figures([folder], Path("file"))

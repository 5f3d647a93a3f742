"""What the files of a grid say of runs that only pretend to have been trained."""

import json
import re

import pytest
from grids import RECIPE as SMALL
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.experiments.grid import make_grid
from toolrest.experiments.methods import read_methods
from toolrest.experiments.plan import CompareFolder, keep_plan, load_plan, make_stability_plan
from toolrest.experiments.stability.report import write_stability
from toolrest.experiments.stability.results import load_standings
from toolrest.experiments.stability.tables import columns, markdown, row
from toolrest.recipe import parse_recipe

RATES = (1e-4, 2e-4, 4e-4)
RECIPE = SMALL | {"max_steps": 16, "save_steps": 16, "evaluation": {"every": 8, "samples": 10}}
LASTS = {"grpo": (2, 1, 1), "rest": (3, 2, 2)}
"""Rates that each seed's runs withstand."""


@pytest.fixture
def grid_folder(tmp_path):
    grid = make_grid(read_methods("grpo,rest"), RATES)
    recipe = parse_recipe(RECIPE, "x")
    folder = CompareFolder(tmp_path / "out")
    plan = keep_plan(folder, make_stability_plan(recipe, grid, (0, 1, 2), "grpo", 1))
    for method, lasts in LASTS.items():
        for seed, last in enumerate(lasts):
            for index, rate in enumerate(("1e-4", "2e-4", "4e-4")):
                run = folder.run(f"{method}-lr{rate}", seed)
                score = 0.5 + 0.1 * index + (0.05 if method == "rest" else 0.0)
                finish(run, score, collapsed=index >= last)
    return folder, plan, grid


def finish(run, score, *, collapsed=False, steps=16):
    """Leave what a run does: one that collapses does so at step 8, by its format."""
    run.evaluation.mkdir(parents=True, exist_ok=True)
    ends = 8 if collapsed else steps
    points = [
        {"step": step, "exact_match": score, "format": 0.5 if collapsed and step else 1.0}
        for step in range(0, ends + 1, 8)
    ]
    run.curve.write_text("".join(json.dumps(point) + "\n" for point in points))
    run.metrics.write_text('{"step": 1, "entropy/reasoning": 0.5}\n')
    run.summary.write_text(json.dumps({"steps": ends, "seconds": 2.0}))


def test_the_table_by_hand(grid_folder):
    folder, plan, grid = grid_folder
    grpo, rest = load_standings(folder, plan, grid)
    # grpo lasts -, -, x / -, x, x / -, x, x: shares 0, 2/3, 1; half at 3/4 of the first doubling
    assert grpo.lr50 is not None
    assert grpo.lr50.value == pytest.approx(1e-4 * 2**0.75)
    # rest: shares 0, 0, 2/3: at 3/4 of the second
    assert rest.lr50 is not None and rest.lr50.value == pytest.approx(2e-4 * 2**0.75)
    # areas: 1.5, .5, .5 and 2, 1.5, 1.5
    assert grpo.doublings is not None and rest.doublings is not None
    assert grpo.doublings.value.value == pytest.approx(2.5 / 3)
    assert rest.doublings.value.value == pytest.approx(5 / 3)
    apart = rest.doublings.apart
    assert apart is not None and apart.value == pytest.approx(2.5 / 3)  # .5, 1, 1
    assert rest.doublings.p == 0.25 and rest.doublings.p_holm == 0.25  # 2 of 8 sign patterns
    assert grpo.doublings.apart is None
    assert grpo.best is not None and rest.best is not None
    assert grpo.best_rate == rest.best_rate == 4e-4  # the last score of a collapsed run counts
    assert rest.best.apart is not None and rest.best.apart.value == pytest.approx(0.05)
    cells = row(rest, grid)
    assert cells[:6] == ["rest", "3", "0/3", "0/3", "2/3", "3.4e-4 (2.8e-4 to over 4e-4)"]
    assert len(cells) == len(columns(grid))
    text = markdown([grpo, rest], plan, grid, ["they do"])
    assert "| grpo | format 5 |" in text and "- they do" in text and "label" not in text


def test_seeds_without_all_rates_count_at_their_rates_alone(grid_folder):
    folder, plan, grid = grid_folder
    folder.run("rest-lr4e-4", 0).summary.unlink()
    _, rest = load_standings(folder, plan, grid)
    assert rest.seeds == (1, 2) and len(rest.at(4e-4)) == 2 and len(rest.at(1e-4)) == 3
    assert rest.doublings is not None and rest.doublings.apart is not None
    assert rest.doublings.apart.value == pytest.approx(1.0)
    for seed in range(3):
        for rate in ("1e-4", "2e-4", "4e-4"):
            folder.run(f"grpo-lr{rate}", seed).summary.unlink()
    grpo, rest = load_standings(folder, plan, grid)
    assert grpo.lr50 is None and row(grpo, grid)[1:6] == ["0", "", "", "", ""]
    assert rest.doublings is not None and rest.doublings.apart is None


def test_a_run_that_ended_for_no_reason_is_named(grid_folder):
    folder, plan, grid = grid_folder
    run = folder.run("grpo-lr1e-4", 0)
    finish(run, 0.5, steps=8)
    with pytest.raises(InputError, match=r"it ended after 8 of 16 steps, uncollapsed.*remove"):
        load_standings(folder, plan, grid)
    run.summary.write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        load_standings(folder, plan, grid)


def test_the_files_are_written_and_the_command_shows_them(grid_folder):
    folder, plan, grid = grid_folder
    write_stability(folder, plan, grid)
    found = json.loads((folder.path / "stability.json").read_text())
    assert found["rates"] == list(RATES) and found["baseline"] == "grpo"
    assert len(found["runs"]) == 18 and found["collapse"]["format"] == 0.9
    assert found["runs"][0] == {
        **{"method": "grpo", "rate": 1e-4, "seed": 0, "collapsed": False, "sign": None},
        **{"steps": 16, "score": 0.5, "seconds": 2.0},
    }
    [rest] = [each for each in found["table"] if each["method"] == "rest"]
    assert rest["lr50"]["high"] is None  # over the greatest rate
    for kind in ("png", "svg"):
        assert (folder.path / "figures" / f"frontier.{kind}").stat().st_size > 5000
    shown = CliRunner().invoke(app, ["compare", "--report", "--out", str(folder.path)])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"rest\W+0/3\W+0/3\W+2/3", shown.output)
    assert "frontier.png" in shown.output and "they also" not in shown.output


def test_a_report_takes_another_baseline_and_keeps_the_folder_s(grid_folder):
    folder, plan, _ = grid_folder
    asked = ["compare", "--report", "--out", str(folder.path), "--baseline"]
    assert CliRunner().invoke(app, [*asked, "rest"]).exit_code == 0
    [grpo, rest] = json.loads((folder.path / "stability.json").read_text())["table"]
    assert grpo["doublings"]["apart"]["value"] == pytest.approx(-2.5 / 3)
    assert rest["doublings"]["apart"] is None and load_plan(folder) == plan
    wrong = CliRunner().invoke(app, [*asked, "gtpo"])
    assert wrong.exit_code == 2 and "--baseline gtpo: not one of the methods" in wrong.output


def test_the_legend_has_the_rule_and_the_noise_as_they_are():
    own = {"collapse": {"format": 0.925}, "reward": {"label_noise": 0.004}}
    grid = make_grid(read_methods("grpo"), RATES)
    plan = make_stability_plan(parse_recipe(RECIPE | own, "x"), grid, (0,), "grpo", 1)
    text = markdown([], plan, grid)
    assert "right in under 92.5% of responses" in text and "0.4% of the training" in text


def test_nothing_finished_is_said(tmp_path):
    grid = make_grid(read_methods("grpo"), RATES)
    plan = make_stability_plan(parse_recipe(RECIPE, "x"), grid, (0,), "grpo", 1)
    with pytest.raises(InputError, match="no run is finished"):
        load_standings(CompareFolder(tmp_path), plan, grid)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rates", "1e-4,2e-4"], "--rates 1e-4,2e-4 is for --stability"),
        (["--stability", "--rates", "1e-4"], "two learning rates or more"),
        (["--stability"], "evaluation.every=1"),
        (["--stability", "evaluation.every=1", "environment.source=world"], "is not measured"),
        (["--stability", "evaluation.every=1", "evaluation.patience=2"], "leave it out"),
        (["--stability", "evaluation.every=1", "--baseline", "gtpo"], "--baseline gtpo: not one"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(tmp_path, words, said):
    out = tmp_path / "out"
    found = CliRunner().invoke(app, ["compare", *words, "--out", str(out)])
    assert found.exit_code == 2 and said in " ".join(found.output.split())
    assert not out.exists()

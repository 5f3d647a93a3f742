"""The report page in a headless browser, and of runs that are broken in some way."""

import json
import os
import shutil
from pathlib import Path

import pytest
from report_pages import REGIONS, WEIGHTS, Opened, a_run, response
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.page_of_runs.collect import collect
from toolrest.report.page_of_runs.series import MOST_POINTS
from toolrest.report.page_of_runs.write import report_page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    target = folder / "r.html"
    target.write_text(report_page([a_run(folder / "one"), a_run(folder / "two")]), encoding="utf-8")
    return target


VIEWS = ("summary", "curves", "rollouts", "failures")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_opens_without_an_error_or_a_request_and_is_accessible(
    browser, page_file, scheme, width
):
    opened = Opened(
        browser, page_file, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for view in VIEWS:
        opened.page.click(f"#tab-{view}")
        assert opened.page.is_visible(f"#view-{view}")
        if view == "curves":
            opened.page.wait_for_selector("#view-curves .plot-container")
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(opened.page, options={"runOnly": ["wcag2a", "wcag2aa"]})
        assert found.violations_count == 0, found.generate_report()
    assert opened.trouble == []
    opened.page.close()


def test_tokens_are_shaded_by_the_recorded_weights_and_hostile_text_is_text(browser, page_file):
    opened = Opened(browser, page_file)
    opened.page.click("#tab-rollouts")
    first = opened.page.locator("#view-rollouts article").first.locator(".token")
    weights = first.evaluate_all("tokens => tokens.map(t => Number(t.dataset.weight))")
    shades = first.evaluate_all(
        "tokens => tokens.map(t => Number(t.style.getPropertyValue('--shade')))"
    )
    regions = first.evaluate_all("tokens => tokens.map(t => t.dataset.region)")
    assert weights == WEIGHTS
    assert shades == [round(40 * weight / 2) for weight in WEIGHTS]
    assert regions == REGIONS
    texts = first.all_text_contents()
    assert texts[3].startswith("<script>bad()</script></style><img src=x onerror=bad()>")
    assert "\\u202e" in texts[3] and "\u202e" not in "".join(texts)
    assert len(texts[4]) == 20_000
    assert opened.page.evaluate("document.querySelectorAll('img, script:not(#data)').length") == 2
    assert opened.trouble == []
    opened.page.close()


def test_failures_of_training_and_of_later_evaluations_are_shown(browser, page_file):
    opened = Opened(browser, page_file)
    opened.page.click("#tab-failures")
    heads = opened.page.locator("#view-failures summary")
    assert heads.all_text_contents() == ["bad call: 1", "no call: 1"]
    assert opened.page.locator("#view-failures article").count() == 0
    heads.nth(0).click()
    heads.nth(1).click()
    opened.page.wait_for_function("document.querySelectorAll('#view-failures article').length == 2")
    shown = opened.page.locator("#view-failures article").all_text_contents()
    assert shown[0].startswith("t") and "<script>bad()" in shown[0]
    assert "simple_1" in shown[1] and '[{"f": {}}]' in shown[1] and "<script>bad()" in shown[1]
    assert opened.trouble == []
    opened.page.close()


@pytest.mark.slow
def test_a_megabyte_on_one_line_opens(browser, tmp_path):
    folder = a_run(tmp_path / "long", steps=1)
    file = folder / "rollouts" / "step-000000.jsonl"
    file.write_text(file.read_text().replace("x" * 20_000, "x" * 1_000_000))
    target = tmp_path / "r.html"
    target.write_text(report_page([folder]), encoding="utf-8")
    opened = Opened(browser, target)
    opened.page.click("#tab-rollouts")
    length = (
        opened.page.locator("#view-rollouts .token")
        .nth(4)
        .evaluate("token => token.textContent.length")
    )
    assert length == 1_000_000
    assert opened.trouble == []
    opened.page.close()


def test_filters_filter_and_keys_move(browser, page_file):
    opened = Opened(browser, page_file)
    page = opened.page
    page.click("#tab-rollouts")

    def groups():
        return page.get_by_label("group", exact=True).locator("option").all_text_contents()

    def choose(label, value):
        page.get_by_label(label, exact=True).select_option(value)

    assert len(groups()) == 9
    choose("show", "format")
    assert groups() == [f"step {step}, b" for step in range(1, 4)]
    choose("show", "value")
    assert groups() == [f"step {step}, a" for step in range(1, 4)]
    choose("show", "equal")
    assert groups() == [f"step {step}, c" for step in range(1, 4)]
    page.click("h1")
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("group", exact=True).input_value() == "1"
    page.keyboard.press("ArrowLeft")
    choose("shade by", "region")
    assert (
        page.locator("#view-rollouts .token").first.evaluate(
            "t => t.style.getPropertyValue('--shade')"
        )
        == "14"
    )
    choose("shade by", "entropy")
    assert "were not recorded" in page.locator("#view-rollouts article").first.text_content()
    choose("run", "1")
    page.focus("#tab-rollouts")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.is_visible("#view-curves")
    assert page.locator("#view-curves figure").count() >= 6
    assert opened.trouble == []
    page.close()


@pytest.mark.slow
def test_broken_runs_open_and_say_what_is_missing(browser, tmp_path):
    """One step, torn metrics, an older version's recipe, nothing but a recipe."""
    one = a_run(tmp_path / "one", steps=1)
    torn = a_run(tmp_path / "torn")
    text = (torn / "metrics.jsonl").read_text()
    (torn / "metrics.jsonl").write_text(text + '{"step": 4, "rew')
    (torn / "summary.json").unlink()
    old = a_run(tmp_path / "old")
    (old / "recipe.yaml").write_text("an_old_key: 1\n")
    shutil.rmtree(old / "rollouts")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "recipe.yaml").write_text(dump_recipe(Recipe()))
    expected = {
        one: [],
        torn: ["the run is not done", "metrics.jsonl: 1 broken line left out"],
        old: ["the recipe is of another version", "no rollouts"],
        bare: ["the run is not done", "no environment.json", "no metrics.jsonl", "no rollouts"],
    }
    for folder, words in expected.items():
        missing = " ".join(collect(folder)["missing"])
        assert all(word in missing for word in words), missing
        assert bool(missing) == bool(words)
        target = folder / "r.html"
        target.write_text(report_page([folder]), encoding="utf-8")
        opened = Opened(browser, target)
        for view in VIEWS:
            opened.page.click(f"#tab-{view}")
        opened.page.click("#tab-summary")
        shown = opened.page.text_content("#view-summary")
        assert all(word in shown for word in words)
        assert opened.trouble == []
        opened.page.close()


def test_warnings_and_incidents_are_on_the_first_page(browser, tmp_path):
    folder = a_run(tmp_path / "warned")
    warned = {"name": "truncated", "step": 7, "text": "97% <b>cut</b> off", "advice": "raise it"}
    (folder / "warnings.jsonl").write_text(json.dumps(warned) + "\n")
    (folder / "incidents").mkdir()
    incident = {"step": 3, "what": "weight", "facts": {}}
    (folder / "incidents" / "step-000003.json").write_text(json.dumps(incident))
    target = folder / "r.html"
    target.write_text(report_page([folder]), encoding="utf-8")
    opened = Opened(browser, target)
    shown = opened.page.text_content("#view-summary")
    assert "step 7: 97% <b>cut</b> off; raise it" in shown
    assert "step 3: a weight was not finite (incidents/step-000003.json)" in shown
    assert opened.trouble == []
    opened.page.close()


def test_figures_that_json_does_not_have_break_no_page(tmp_path):
    """A finished run must not end in an error because of its report."""
    folder = a_run(tmp_path / "odd", steps=1)
    endless = Recipe(optimizer={"max_grad_norm": float("inf")})
    (folder / "recipe.yaml").write_text(dump_recipe(endless))
    odd = {"n": 8, "exact_match": float("nan"), "greedy_exact_match": 1.5, "reward": float("inf")}
    (folder / "summary.json").write_text(json.dumps({"before": odd, "after": odd, "seconds": 1}))
    page = report_page([folder])
    embedded = page.split('id="data">')[1].split("</script>")[0]
    (run,) = json.loads(embedded, parse_constant=lambda text: pytest.fail(text))["runs"]
    assert run["recipe"]["optimizer"]["max_grad_norm"] == "inf"
    assert run["table"] == []


@pytest.mark.slow
def test_a_large_run_is_sampled_and_says_so(tmp_path):
    """2,000 steps of 50 saved responses: 100,000 rollouts."""
    folder = tmp_path / "large"
    (folder / "rollouts").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe()))
    metrics = [json.dumps({"step": s, "reward": 1.0}) + "\n" for s in range(2000)]
    (folder / "metrics.jsonl").write_text("".join(metrics))
    row = response(0, "a", 4.0, 1.0, True)
    row |= {"tokens": [" word"] * 300, "regions": ["reasoning"] * 300, "weights": [1.0] * 300}
    row |= {"prompt": "", "response": ""}
    first = folder / "rollouts" / "step-000000.jsonl"
    first.write_text((json.dumps(row) + "\n") * 50)
    for step in range(1, 2000):
        os.link(first, first.with_name(f"step-{step:06d}.jsonl"))
    page = report_page([folder])
    assert len(page.encode()) < 25e6
    found = collect(folder)
    assert found["sampled"].startswith("1600 responses of 1 groups from 32 of 2000 steps")
    assert len(found["series"]["reward"][0]) == MOST_POINTS


def test_recorded_entropies_shade_too(browser, tmp_path):
    folder = a_run(tmp_path / "one", steps=1)
    file = folder / "rollouts" / "step-000000.jsonl"
    entropies = [0.0, 0.5, 0.1, 0.2, 0.4]
    rows = [json.loads(line) | {"entropies": entropies} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = tmp_path / "r.html"
    target.write_text(report_page([folder]), encoding="utf-8")
    opened = Opened(browser, target)
    opened.page.click("#tab-rollouts")
    opened.page.get_by_label("shade by", exact=True).select_option("entropy")
    shades = (
        opened.page.locator("#view-rollouts article")
        .first.locator(".token")
        .evaluate_all("tokens => tokens.map(t => Number(t.style.getPropertyValue('--shade')))")
    )
    assert shades == [0, 40, 8, 16, 32]
    opened.page.close()


def test_the_command_writes_the_page_and_wrong_input_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_run(Path("runs/a"))
    done = CliRunner().invoke(app, ["report", "runs/a"])
    assert done.exit_code == 0 and "runs/a/report.html" in done.output
    assert Path("runs/a/report.html").is_file()
    for arguments, words in (
        (["report", "nowhere"], "no run is there"),
        (["report", "runs/a", "--output", "no/r.html"], "cannot be written"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2 and words in done.output


@pytest.mark.parametrize("schedule", ["constant", "rest", "official", "binary"])
def test_the_page_says_which_rewards_it_has_and_which_responses_were_cut(tmp_path, schedule):
    folder = a_run(tmp_path / "run", steps=1)
    (folder / "recipe.yaml").write_text(dump_recipe(Recipe(reward={"schedule": schedule})))
    path = folder / "rollouts" / "step-000000.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, cut in zip(rows, (True, False), strict=False):
        row["cut"] = cut
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    after = folder / "evaluation" / "after.jsonl"
    after.write_text(json.dumps(json.loads(after.read_text()) | {"cut": True}) + "\n")
    found = collect(folder)
    assert (f"by reward.schedule={schedule} at the step" in found["sampled"]) == (
        schedule != "constant"
    )
    statuses = [row["status"] for group in found["groups"] for row in group["rows"]]
    assert statuses == ["ok, but cut at the length limit", *["ok"] * 5]
    assert "bad call, but cut at the length limit" in json.dumps(found["failures"])

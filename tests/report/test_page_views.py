"""The page in a browser: address, search, differences, failures by page, charts, hostile text."""

import json
from urllib.parse import quote

import pytest
from report_pages import HOSTILE, Opened, a_run

from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.page_of_runs.write import report_page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Three runs, two of which are seeds of one method; the first has 45 failures of a benchmark
    and a result, both with hostile names.
    """
    folder = tmp_path_factory.mktemp("runs")
    runs = [a_run(folder / name) for name in ("m-seed0", "m-seed1", "other")]
    (runs[1] / "recipe.yaml").write_text(dump_recipe(Recipe(seed=1)))
    (runs[2] / "recipe.yaml").write_text(dump_recipe(Recipe(max_steps=7)))
    evaluation = runs[0] / "evaluation" / "bfcl-1"
    rows = [
        {"identity": f"i{n}", "check": HOSTILE, "expected": "one two three", "got": "one 2 three"}
        | {"question": HOSTILE}
        for n in range(45)
    ]
    (evaluation / "failures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = {"n": 45, "accuracy": 0.0, "low": 0.0, "high": 0.1}
    result = {"settings": {"benchmark": HOSTILE}, "categories": {HOSTILE: part}}
    (evaluation / "result.json").write_text(json.dumps(result))
    target = folder / "r.html"
    target.write_text(report_page(runs), encoding="utf-8")
    return target


@pytest.fixture
def opened(browser, page_file):
    found = Opened(browser, page_file, viewport={"width": 1200, "height": 900})
    yield found
    assert found.trouble == []
    assert found.page.evaluate("document.querySelectorAll('img, iframe, object').length") == 0
    found.page.close()


def at(opened, page_file, address):
    opened.page.goto("about:blank")
    opened.page.goto(f"{page_file.as_uri()}#{address}")
    return opened.page


def test_an_address_leads_to_a_response_and_back_leads_back(opened, page_file):
    page = at(opened, page_file, "tab=rollouts&run=other&step=2&group=a&response=2&shade=region")
    assert page.locator("article.chosen h3").text_content().startswith("Response 2")
    assert page.get_by_label("run", exact=True).input_value() == "2"
    page.get_by_role("button", name="next").click()
    assert "group=b" in page.evaluate("location.hash") and "run=other" in page.url
    page.click("#tab-curves")
    assert "tab=curves" in page.url
    page.go_back()
    assert page.is_visible("#view-rollouts") and "group=b" in page.url
    page.go_back()
    assert page.locator("article.chosen").count() == 1


@pytest.mark.parametrize(
    "address",
    ["tab=nothing", "tab=constructor&filter=__proto__", "%%%", "run=" + quote(HOSTILE), "smooth=9"],
)
def test_a_wrong_address_is_ignored(opened, page_file, address):
    page = at(opened, page_file, address)
    assert page.is_visible("#view-summary")


def test_search_finds_marks_and_keeps_the_focus(opened, page_file):
    page = at(opened, page_file, "tab=rollouts")
    box = page.get_by_label("search", exact=True)
    box.click()
    page.keyboard.type("bad()</script>")
    assert page.evaluate("document.activeElement.id") == "control-search"
    assert box.input_value() == "bad()</script>"
    assert page.locator("#view-rollouts .token.hit").first.text_content().startswith("<script>")
    assert "q=bad" in page.url
    page.keyboard.type("nothing has this")
    assert "0 groups shown" in page.text_content("#sampled")


def test_the_worst_response_and_two_responses_that_differ(opened, page_file):
    page = at(opened, page_file, "tab=rollouts")
    page.get_by_role("button", name="jump to the worst").click()
    assert "reward 0.00" in page.text_content("article.chosen")
    page.get_by_label("difference of", exact=True).select_option("1")
    assert "compare=1-2" in page.url
    assert page.locator(".comparison pre").count() == 2
    assert page.locator("svg.strip circle").count() == 2


def test_failures_are_paged_and_their_words_compared(opened, page_file):
    page = at(opened, page_file, "tab=failures")
    page.locator("#view-failures summary").nth(1).click()
    page.wait_for_selector("#view-failures article")
    assert page.locator("#view-failures article").count() == 20
    first = page.locator("#view-failures article").first
    assert first.locator("del").all_text_contents() == ["two"]
    assert first.locator("ins").all_text_contents() == ["2"]
    assert "<script>bad()" in first.locator("pre").first.text_content()
    for count in (20, 5):
        page.get_by_role("button", name="next page").click()
        assert page.locator("#view-failures article").count() == count
    page.reload()
    assert page.locator("#view-failures article").count() == 5


def test_hostile_names_of_benchmarks_are_text(opened, page_file):
    page = at(opened, page_file, "")
    heads = page.locator("#view-summary h3").all_text_contents()
    assert any(text.startswith("<script>bad()</script></style><img") for text in heads)


def test_charts_are_drawn_by_seeds_and_runs_can_be_switched_off(opened, page_file):
    page = at(opened, page_file, "tab=curves&find=reward, sampled")
    drawn = page.wait_for_selector("#view-curves .plot-container")
    assert drawn is not None
    assert page.locator(".owners button").all_text_contents() == ["m, 2 seeds", "other"]
    lines = "document.querySelector('#view-curves .plot').data.filter(t => t.name && !t.hoverinfo)"
    assert page.evaluate(f"{lines}.map(t => t.name)") == ["m", "other"]
    assert page.evaluate(f"{lines}[0].y") == [2, 3, 4]
    page.locator(".owners button").nth(0).click()
    assert page.evaluate(f"{lines}.map(t => t.name)") == ["other"]
    page.get_by_label("log axis").check()
    axis = "document.querySelector('#view-curves .plot').layout.yaxis"
    assert (
        page.evaluate(f"{axis}.type") == "log" and page.evaluate(f"{axis}.title.text") == "reward"
    )
    page.get_by_label("single runs").check()
    assert page.locator(".owners button").count() == 3
    page.wait_for_selector("#view-curves .plot-container")


def test_smoothing_by_hand(opened, page_file):
    page = at(opened, page_file, "")
    # weight 1/2: 2; (0.5 * 1 + 0.5 * 4) / 0.75; null stays
    assert page.evaluate("smoothed([2, 4, null], 0.5)") == [2, pytest.approx(10 / 3), None]
    assert page.evaluate("smoothed([1, 5], 0)") == [1, 5]


def test_a_difference_of_megabytes_does_not_hang(opened, page_file):
    page = at(opened, page_file, "")
    said = "unlike(wordsOf('a b '.repeat(2e5)), wordsOf('b c '.repeat(2e5))).why"
    assert "too long" in page.evaluate(said)

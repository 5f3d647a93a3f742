"""The page of a response: where it is from, what it answers, and regions that need no colour."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.regions import Region
from toolrest.recipe import Recipe, dump_recipe
from toolrest.report.inspection_page import LETTERS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TEXT = '<think> I look. </think>\n<tool_call>\n{"name": "a", "parameters": {"b": 1}}\n</tool_call>'
HOSTILE = "</pre><script>bad()</script>\u202eevil"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def a_page(embedded_tokenizer):
    """Makes the page of the second response of a group, whose first has the prompt."""

    def make(prompt=f"[user] Look!\n{HOSTILE}"):
        run = Path("runs/a")
        (run / "rollouts").mkdir(parents=True)
        (run / "recipe.yaml").write_text(dump_recipe(Recipe(seed=7)))
        ids = [*embedded_tokenizer(TEXT)["input_ids"], embedded_tokenizer.eos_token_id]
        regions = [region.name.lower() for region in Region]
        row = {"step": 5, "steps_done": 4, "identity": "train/0/1", "response": TEXT, "ids": ids}
        row |= {"ground_truth": f"right {HOSTILE}", "advantage": -0.5, "weights": [1.0] * len(ids)}
        row["regions"] = [regions[n % len(regions)] for n in range(len(ids))]
        rows = [row | {"prompt": prompt}, row, row | {"identity": "another"}]
        path = run / "rollouts" / "step-000005.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        pages = []
        for number in (1, 2):
            words = ["inspect", "runs/a", "--row", str(number), "--html", "i.html"]
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
            pages.append(Path("i.html").read_text())
        return pages

    return make


def test_the_page_says_where_a_response_is_from_and_what_it_answers(a_page):
    page, of_another = a_page()
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts == {
        **{"run": "runs/a", "step": "5", "row": "1", "task": "train/0/1", "policy": "embedded"},
        **{"seed": "7", "weights": "rest", "advantage": "-0.50"},
    }
    assert "<title>toolrest inspect, run runs/a, step 5, row 1</title>" in page
    assert "[user] Look!\n&lt;/pre&gt;&lt;script&gt;bad()" in page and "<script" not in page
    assert "right &lt;/pre&gt;" in page and "\u202e" not in page
    assert "[user] Look!" not in of_another  # nobody has written the prompt of its group


def test_a_prompt_of_another_kind_is_left_out(a_page):
    page, _ = a_page(prompt=5)
    assert "<h2>Prompt</h2>" not in page and "<h2>Ground truth</h2>" in page


def test_end_tokens_have_their_names(a_page, embedded_tokenizer):
    page, _ = a_page()
    name = embedded_tokenizer.eos_token.replace("<", "&lt;").replace(">", "&gt;")
    assert re.findall(r'<span class="unwritten">(.*?)</span>', page) == [name]


def test_every_region_has_a_letter_and_a_line_of_its_own(a_page):
    page, _ = a_page()
    assert set(LETTERS) == {region.name.lower() for region in Region}
    assert len(set(LETTERS.values())) == len(Region)
    lines = dict(re.findall(r"\.mark\.(\w+) \{ (border[^;]*);", page))
    assert len(set(lines.values())) == len(Region)
    shown = re.findall(r'<span class="token (\w+)".*?</small>', page, re.DOTALL)
    letters = re.findall(r"<small><b>(\w)</b>", page)
    assert letters == [LETTERS[region] for region in shown]
    legend = page.split('class="legend"')[1].split("</p>")[0]
    assert all(f">{letter}</b> {region}" in legend for region, letter in LETTERS.items())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(a_page, scheme, width):
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    a_page()
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        trouble = []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("request", lambda asked: trouble.append(asked.url))
        page.goto(Path("i.html").resolve().as_uri())
        found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa"]})
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert len(trouble) == 1  # the page itself
        browser.close()

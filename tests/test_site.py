"""The site: every page has its place, it builds without a warning, and its search finds what is
searched for.
"""

import functools
import html
import json
import os
import re
import runpy
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
import yaml

import toolrest
from toolrest.cli.main import app
from toolrest.recipe.mends import all_keys

ROOT = Path(__file__).parents[1]
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"
ELSEWHERE = ("examples.md", "messages.md", "notebook.md")
"""Pages that are written while the site is built."""
ASK = """async (questions) => {
    const index = await (await fetch("search/search_index.json")).json()
    const page = await (await fetch("index.html")).text()
    const worker = new Worker(page.match(/"search":\\s*"([^"]+)"/)[1])
    const answer = (message) => new Promise((resolve) => {
        worker.onmessage = (event) => resolve(event.data.data)
        worker.postMessage(message)
    })
    await answer({type: 0, data: {...index, options: {suggest: false}}})
    const found = []
    for (const question of questions) {
        const {items} = await answer({type: 2, data: question})
        found.push(items.map((documents) => documents.map((each) => each.location)))
    }
    return found
}"""
"""Asks the site's own search, as its pages do; pages by question, the best first."""


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without its classes."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def in_navigation():
    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        return [page for each in inner for page in pages(each)]

    return pages(yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)["nav"])


def test_every_page_is_in_the_navigation_once():
    kept = re.search(r"KEPT_ELSEWHERE = {(.*?)}", read("scripts/site_pages.py"), re.DOTALL)[1]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    pages |= {*re.findall(r'"(\w+\.md)": "', kept), *ELSEWHERE}
    assert sorted(in_navigation()) == sorted(pages)


def test_every_public_name_is_in_the_reference():
    page = read("docs/api.md")
    for name in toolrest.__all__:
        assert re.search(rf"^::: [\w.]+\.{name}$", page, re.MULTILINE), name


def test_what_the_site_is_built_with_is_in_the_project():
    project = read("pyproject.toml")
    for package in ("mkdocs>=", "mkdocs-material>=", "mkdocstrings[python]>="):
        assert f'"{package}' in project, package


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it."""
    if not MKDOCS.exists():
        pytest.skip("no mkdocs; `make docs` makes .venv-docs, which has it")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def texts(site):
    """What the search index holds of each page."""
    found = {}
    for entry in json.loads((site / "search" / "search_index.json").read_text())["docs"]:
        page = entry["location"].partition("#")[0]
        text = f"{entry['title']} {entry['text']}"
        found[page] = f"{found.get(page, '')} {html.unescape(re.sub('<[^>]+>', '', text))}"
    return found


@pytest.mark.slow
def test_the_index_holds_every_key_message_and_command(texts):
    for key in all_keys():
        assert key in texts["recipe.html"], key
    reader = runpy.run_path(str(ROOT / "scripts" / "site_messages.py"))
    shown = one_line(texts["messages.html"])
    for message in reader["messages"](ROOT):
        if reader["area_of"](message.path):
            assert one_line(message.text) in shown, message
    for heading in headings():
        assert heading in texts["troubleshooting.html"], heading
    for name, command in typer.main.get_command(app).commands.items():
        for inner in getattr(command, "commands", {"": command}):
            assert f"toolrest {name} {inner}".strip() in texts["commands.html"], name


@pytest.mark.slow
def test_no_page_shows_what_is_meant_for_the_builder(site):
    for path in site.glob("*.html"):
        page = path.read_text()
        assert "--8&lt;--" not in page and "--8<--" not in page, path.name
        assert not re.search(r"<td>[^\n]*\\\|", page), f"{path.name}: a backslash in a table"
        assert not re.search(r"<p>::: ", page), path.name


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site):
    for path in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", path.read_text()):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), f"{path.name}: {tag}"


@pytest.mark.slow
def test_the_search_finds_every_key_and_every_family_of_messages(site):
    browser = shutil.which("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    if browser is None:
        pytest.skip("no chromium, in which the search runs")
    keys = list(all_keys())
    families = [heading.replace("..", " ") for heading in headings()]
    handler = functools.partial(_Silent, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with playwright.sync_playwright() as driver:
            opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = opened.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
            found = page.evaluate(ASK, keys + families)
            opened.close()
        server.shutdown()
    for key, pages in zip(keys, found, strict=False):
        assert "recipe.html" in first(pages), f"{key}: {first(pages)}"
    for family, pages in zip(families, found[len(keys) :], strict=True):
        assert "troubleshooting.html" in first(pages), f"{family}: {first(pages)}"


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def first(pages, count=8):
    """The first pages that were found."""
    return [documents[0].partition("#")[0] for documents in pages[:count]]


def headings():
    """The messages that docs/troubleshooting.md explains."""
    found = re.findall(r"^### (.*)$", read("docs/troubleshooting.md"), re.MULTILINE)
    return [heading.replace("`", "") for heading in found]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def one_line(text):
    return " ".join(text.split())

"""What the site adds to docs/*.md while it is built (a hook of mkdocs, see mkdocs.yml).

Pages that are kept elsewhere in the project are taken from there, so that no text is kept twice.
Links to files that are no pages of the site lead to the repository that pyproject.toml names.
"""

from __future__ import annotations

import ast
import json
import logging
import posixpath
import re
import tomllib
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_messages import messages_page

ROOT = Path(__file__).parents[1]
KEPT_ELSEWHERE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "dialect_contract.md": "src/toolrest/core/dialects/README.md",
}
"""Pages of the site, and the files that they are."""
FOUND_FIRST = {"recipe.md": 6, "troubleshooting.md": 2}
"""Pages that a search for their words is for, and how much more they count in it."""
OF_KEYS = ("recipe.md", "commands.md")
"""Pages whose tables have a key or an option in their first column."""
_NOTEBOOK = "examples/quickstart.ipynb"
_SITE_NAMES = {path: page for page, path in KEPT_ELSEWHERE.items()} | {
    "examples": "examples.md",
    _NOTEBOOK: "notebook.md",
}
_LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_CELL = re.compile(r"<td.*?</td>", re.DOTALL)
_log = logging.getLogger("mkdocs.hooks.site_pages")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are kept elsewhere, the messages, the examples and the notebook."""
    for page, path in KEPT_ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "messages.md", content=messages_page(ROOT)))
    files.append(File.generated(config, "examples.md", content=_examples()))
    files.append(File.generated(config, "notebook.md", content=_notebook()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links between the project's files links of the site, or of the repository. A text that
    is a file's name becomes the page's title.
    """
    here = page.file.src_uri
    if here in FOUND_FIRST:
        page.meta["search"] = {"boost": FOUND_FIRST[here]}

    def mended(link: re.Match[str]) -> str:
        if not _is_of_the_project(here, link["path"]):
            return link[0]
        target, anchor = site_target(here, link["path"]), link["anchor"] or ""
        found = files.get_file_from_path(target)
        if found is not None:
            text = link["text"]
            if found.page is not None and PurePosixPath(text).name == Path(link["path"]).name:
                text = found.page.title
            near = posixpath.relpath(target, posixpath.dirname(here) or ".")
            return f"[{text}]({near}{anchor})"
        repository = repository_address()
        if repository is None:
            _log.warning(
                f"{KEPT_ELSEWHERE.get(here, 'docs/' + here)} links to {link['path']}, which is no "
                "page of the site; name the repository in pyproject.toml ([project.urls] "
                "Repository), or write the path without a link"
            )
            return link[0]
        return f"[{link['text']}]({repository}/blob/main/{target}{anchor})"

    return _LINK.sub(mended, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write `|` in the cells of tables as it is (Python-Markdown keeps its backslash in code), and
    mark the pages whose tables begin with keys, which site.css keeps in one line.
    """
    html = _CELL.sub(lambda cell: cell[0].replace(r"\|", "|"), html)
    return f'<div class="keys">{html}</div>' if page.file.src_uri in OF_KEYS else html


def site_target(page: str, link: str) -> str:
    """Where a page's link leads: a page or file of the site, else a path in the project."""
    path = _in_project(page, link)
    return _SITE_NAMES.get(path) or path.removeprefix("docs/")


def repository_address() -> str | None:
    """The repository's address on the web; None where pyproject.toml names none."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    found = urls.get("Repository") or urls.get("Source")
    return found and found.rstrip("/")


def _examples() -> str:
    """The page of the examples: what each says of itself, and its lines."""
    parts = ["# Examples\n\nShort files that the tests run; each can be copied and changed.\n"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        name = path.relative_to(ROOT).as_posix()
        parts.append(f"## {name}\n")
        parts += [said + "\n"] if said else []
        parts.append(f'```python\n--8<-- "{name}"\n```\n')
    return "\n".join(parts)


def _notebook() -> str:
    """The page of the notebook: its texts and its code."""
    title, *cells = json.loads((ROOT / _NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    parts = ["".join(title["source"]), f"Open `{_NOTEBOOK}` to run it."]
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join(parts) + "\n"


def _in_project(page: str, link: str) -> str:
    """The path in the project that a page's link names."""
    kept = KEPT_ELSEWHERE.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(kept), link))


def _is_of_the_project(page: str, link: str) -> bool:
    """Whether a link names a file that is there; all others are mkdocs's to judge."""
    return "://" not in link and (ROOT / _in_project(page, link)).exists()

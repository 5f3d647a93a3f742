"""docs/troubleshooting.md: its headings are words that the source says."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
LEAST = 10
"""Letters of a heading's message that tell it from others."""


@pytest.fixture(scope="module")
def reader():
    return runpy.run_path(str(ROOT / "scripts" / "site_messages.py"))


@pytest.fixture(scope="module")
def said(reader):
    """All texts of the source, what is filled in taken out."""
    return "\n".join(re.sub(r"{[^}]*}", "..", text) for text in reader["source_texts"](ROOT))


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_family_is_in_the_source(heading, said):
    messages = re.findall(r"`([^`]*)`", heading)
    assert messages, "a heading is a message, or several, in back quotes"
    for message in messages:
        parts = [part.strip(" .(),;:") for part in message.split("..")]
        assert sum(map(len, parts)) >= LEAST, message
        for part in filter(None, parts):
            assert part in said, f"no message says {part!r} any more; mend docs/troubleshooting.md"


def test_the_list_of_messages_has_them_and_no_texts_of_other_kinds(reader):
    page = reader["messages_page"](ROOT)
    lines = [line for line in page.splitlines() if line.startswith("- ")]
    assert len(lines) > 600
    assert "memory: the run needs {peak} GB, calculated" in page
    assert "verl samples with vLLM; use auto" in page, "a text that is raised elsewhere"
    assert "a message's role is {role}, not system" in page, "a bad row"
    assert "ablation: constant weights" not in page, "a preset's text"
    assert len(set(lines)) > 0.95 * len(lines), "texts are listed twice"


def test_every_file_with_messages_has_a_place_on_the_page(reader):
    lost = {each.path for each in reader["messages"](ROOT) if not reader["area_of"](each.path)}
    assert lost <= {"errors.py"}, "give its folder a line in AREAS of scripts/site_messages.py"


def test_what_is_filled_in_is_named(reader, tmp_path):
    code = (
        'raise InputError(f"{path.name}: {short(value)!r} is {kind_of(x)}; take it out")\n'
        "raise InputError(said)\n"
        'text = ("a.b=1: "\n f"{n} rows; lower it")\n'
        '"""A docstring: it says; nothing."""\n'
    )
    (tmp_path / "src" / "toolrest").mkdir(parents=True)
    (tmp_path / "src" / "toolrest" / "io.py").write_text(code)
    found = [each.text for each in reader["messages"](tmp_path)]
    assert found == ["{name}: {value} is {x}; take it out", "a.b=1: {n} rows; lower it"]

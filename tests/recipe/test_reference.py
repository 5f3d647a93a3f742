"""docs/recipe.md is what the fields say."""

import runpy
from pathlib import Path

from toolrest.recipe.mends import all_keys

ROOT = Path(__file__).parents[2]


def test_the_page_is_written_from_the_fields():
    script = runpy.run_path(str(ROOT / "scripts" / "recipe_reference.py"))
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert page == script["reference"](), "run python scripts/recipe_reference.py"


def test_every_key_has_a_line_with_a_text():
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    for key in all_keys():
        assert key in lines, key
        assert len(lines[key].rsplit(" | ", 1)[1]) > 10, key

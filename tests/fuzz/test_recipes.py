"""Recipes and overrides that are nothing of the kind; `recipes.py` has the command for 10,000."""

import pytest
from typer.testing import CliRunner

from recipes import fuzz
from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.io.plain_yaml import MOST_VALUES, plain_values
from toolrest.recipe import load_recipe


@pytest.mark.slow
def test_every_recipe_is_one_or_one_error(tmp_path):
    seen = []
    fuzz(120, tmp_path, seen.append)
    assert len(seen) > 200
    assert 10 < sum(seen) < len(seen) - 10


def test_few_lines_that_stand_for_billions_are_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(InputError, match=f"over {MOST_VALUES:,} values"):
        plain_values("\n".join(lines), "x")
    merged = [f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(InputError, match=f"over {MOST_VALUES:,} values"):
        plain_values("\n".join(["a0: &a0 {x: 1}", *merged]), "x")


def test_aliases_are_read_and_dates_are_texts():
    text = "a: &a {b: 2024-01-01}\nc: *a\nd: {<<: *a, e: 1e-3}"
    assert plain_values(text, "x") == {
        "a": {"b": "2024-01-01"},
        "c": {"b": "2024-01-01"},
        "d": {"b": "2024-01-01", "e": 0.001},
    }


TAGS = ["python/object/apply:os.system", "python/name:os.system", "binary"]


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_makes_no_objects(tag, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"max_steps: !!{tag} ['touch {tmp_path}/hacked']")
    with pytest.raises(InputError, match="not YAML"):
        load_recipe(path, [])
    with pytest.raises(InputError, match="not YAML"):
        load_recipe(None, [f"max_steps=!!{tag} x"])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(
    "words",
    [
        ["name=../../x"],
        ["name=/etc/x"],
        ["name=a\nb"],
        ["\x1b[2J=1"],
        ["weighting.scheme=../../x"],
        ["max_steps=" + "9" * 5000],
        ["dialect=\u202e"],
    ],
)
def test_the_command_says_one_line_that_moves_no_cursor(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["train", "--dry-run", *words])
    assert found.exit_code == 2
    assert found.stderr.startswith("toolrest: ")
    assert found.stderr.count("\n") == 1
    assert found.stderr.rstrip("\n").isprintable()
    assert not list(tmp_path.iterdir())

"""Recipes of other versions than this one."""

import pytest

from toolrest.errors import InputError
from toolrest.recipe import Recipe, dump_recipe, load_recipe, versions


@pytest.fixture
def renamed(monkeypatch):
    monkeypatch.setattr(versions, "SCHEMA", 3)
    monkeypatch.setattr(
        versions,
        "RENAMED",
        {"steps": "max_steps", "weights.decay": "weighting.entropy_decay", "lora.r": "lora.rank"},
    )


def written(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_what_is_written_has_the_version_first():
    assert dump_recipe(Recipe()).startswith("schema: 2\nname:")
    assert dump_recipe(Recipe(), said=True) == "schema: 2\n"


@pytest.mark.parametrize("text", ["max_steps: 5\n", "schema: 2\nmax_steps: 5\n"])
def test_without_a_version_it_is_the_newest(tmp_path, text, capsys):
    assert load_recipe(written(tmp_path, text), []) == load_recipe(None, ["max_steps=5"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", "schema: 2\n", "schema: 3\n"])
def test_renamed_keys_are_read_with_a_note(tmp_path, renamed, capsys, text):
    path = written(tmp_path, f"{text}steps: 5\nweights: {{decay: 0.5}}\nlora: {{r: 4, alpha: 8}}\n")
    recipe = load_recipe(path, ["seed=3"])
    assert (recipe.max_steps, recipe.lora.rank, recipe.lora.alpha, recipe.seed) == (5, 4, 8, 3)
    assert recipe.weighting.entropy_decay == 0.5
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: steps is called max_steps now",
        f"{path}: weights.decay is called weighting.entropy_decay now",
        f"{path}: lora.r is called lora.rank now",
    ]


def test_a_renamed_key_as_an_override(renamed, capsys):
    assert load_recipe(None, ["lora.r=4"]).lora.rank == 4
    assert capsys.readouterr().err == "the recipe: lora.r is called lora.rank now\n"


def test_a_key_under_both_names_is_refused(renamed):
    with pytest.raises(InputError, match="steps is called max_steps now, and both are there"):
        load_recipe(None, ["steps=4", "max_steps=4"])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("3", "schema=3, but this toolrest reads recipes up to 2; use a newer one"),
        ("0", "schema=0 is no version"),
        ("true", "schema=True is no version"),
        ("new", "schema='new' is no version"),
        ("1.5", "schema=1.5 is no version"),
    ],
)
def test_other_versions_are_refused_in_one_line(tmp_path, schema, words):
    path = written(tmp_path, f"schema: {schema}\nsomething_new: 1\n")
    with pytest.raises(InputError, match=words) as error:
        load_recipe(path, [])
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "sharing"),
    [
        ("", "auto"),
        ("schema: 2\n", "auto"),
        ("schema: 1\n", "off"),
        ("schema: 1\nlora: {}\n", "off"),
    ],
)
def test_a_run_of_an_earlier_version_goes_on_as_it_began(tmp_path, text, sharing):
    """A run's own recipe names its version."""
    assert load_recipe(written(tmp_path, text), []).optimizer.prefix_sharing == sharing
    said = f"{text}optimizer: {{prefix_sharing: on}}\n"
    assert load_recipe(written(tmp_path, said), []).optimizer.prefix_sharing == "on"


@pytest.mark.parametrize("value", ["5", "", "[]", "off"])
@pytest.mark.parametrize("schema", ["", "schema: 1\n", "schema: 2\n"])
def test_a_value_in_a_section_s_place_is_the_same_line_in_every_version(tmp_path, schema, value):
    path = written(tmp_path, f"{schema}optimizer: {value}\n")
    with pytest.raises(InputError, match="recipe key optimizer is a section with keys"):
        load_recipe(path, [])


@pytest.mark.parametrize("value", ["5", "", "[]"])
@pytest.mark.parametrize("section", ["lora", "optimizer"])
def test_nor_does_a_renamed_key_meet_it(tmp_path, monkeypatch, section, value):
    monkeypatch.setattr(versions, "RENAMED", {"optimizer.old": "lora.rank"})
    there = "optimizer: {old: 2}\n" if section == "lora" else ""
    path = written(tmp_path, f"{there}{section}: {value}\n")
    with pytest.raises(InputError, match=f"recipe key {section} is a section with keys"):
        load_recipe(path, [])

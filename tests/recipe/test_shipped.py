"""Recipes by name, in the source tree and in the wheel."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.errors import InputError
from toolrest.recipe import load_recipe
from toolrest.recipe.shipped import about, find_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_recipe_is_valid_and_says_what_it_is(name):
    load_recipe(find_recipe(name), [])
    assert len(about(find_recipe(name)).split()) >= 5


def test_all_of_the_folder_are_listed():
    assert set(shipped_recipes()) == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    shown = CliRunner().invoke(app, ["recipes"]).stdout
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    assert "The embedded default, written out" in shown


def test_one_is_printed_and_trained_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(app, ["recipes", "embedded"]).stdout
    assert printed == (ROOT / "recipes/embedded.yaml").read_text()
    for name in ("embedded", "embedded.yaml"):
        plan = CliRunner().invoke(app, ["train", name, "max_steps=7", "--dry-run"])
        assert plan.exit_code == 0 and "max_steps: 7" in plan.stdout, plan.output


def test_a_file_that_is_here_goes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("embedded.yaml").write_text("max_steps: 3\n")
    plan = CliRunner().invoke(app, ["train", "embedded.yaml", "--dry-run"])
    assert "max_steps: 3" in plan.stdout


def test_the_wheel_is_told_to_hold_them():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["force-include"] == {"recipes": "toolrest/recipes"}


def test_the_wheel_holds_them(tmp_path):
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {Path(name).stem for name in zipfile.ZipFile(wheel).namelist() if "/recipes/" in name}
    assert inside == set(shipped_recipes())


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_a_folder_of_its_name_hides_no_recipe(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / f"{name}.yaml").mkdir()
    assert find_recipe(name) == shipped_recipes()[name] == find_recipe(f"{name}.yaml")
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="a folder; name a recipe"):
        load_recipe(find_recipe("mine"), [])

"""Paths that others name and JSON that others wrote."""

import json
import math

import pytest

from toolrest.data.rows import iterate_rows
from toolrest.engines.common.guarded_reward import load_reward_function
from toolrest.errors import InputError
from toolrest.evaluate.target import find_target
from toolrest.io.files import read_json
from toolrest.io.foreign import is_number, parse_json, parse_object, require_numbers, user_path
from toolrest.io.hub import is_hub_name
from toolrest.policy.folder import kept_policy, policy_path
from toolrest.recipe import Recipe, load_recipe

DEEP = "[" * 100_000
NO_PATHS = ["a" * 300, "~nosuchuser/x", "~nosuchuser", "./" + "b" * 300, "a\0b", "a/" * 3000]


@pytest.mark.parametrize("name", NO_PATHS)
def test_what_can_be_no_path_is_refused_in_a_line(name):
    with pytest.raises(InputError, match="there is no such file or folder") as error:
        user_path(name, f"policy={name}")
    assert len(str(error.value)) < 400


def test_a_path_to_nothing_is_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    assert user_path("~/x", "x") == tmp_path / "x"
    assert user_path(str(tmp_path / "file" / "x"), "x") == tmp_path / "file" / "x"


@pytest.mark.parametrize("name", NO_PATHS)
@pytest.mark.parametrize(
    "take",
    [
        lambda name: policy_path(Recipe(policy=name)),
        lambda name: kept_policy(name, "recipe.yaml"),
        lambda name: find_target(name),
        lambda name: list(iterate_rows(name)),
        lambda name: load_reward_function(f"{name}.py:f"),
    ],
)
def test_whatever_takes_a_name_refuses_one_that_is_no_path(take, name):
    with pytest.raises(InputError):
        take(name)


def test_such_a_name_stays_as_it_is_in_a_recipe(tmp_path, monkeypatch):
    """It is refused where it is used, with the key that has it; it is no name of the hub's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    recipe = load_recipe(None, [f"policy={'a' * 300}", "data.path=~nosuchuser/x"])
    assert recipe.policy == "a" * 300
    assert recipe.data.path == "~nosuchuser/x"
    assert not is_hub_name("x/" + "b" * 300)


def test_json_that_is_too_deep_is_no_json(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text(DEEP)
    for read in (lambda: read_json(path), lambda: parse_json(DEEP), lambda: parse_object(DEEP)):
        with pytest.raises(ValueError, match="nested too deeply"):
            read()


@pytest.mark.parametrize("value", [[], None, 1, "x"])
def test_only_an_object_is_an_object(value):
    with pytest.raises(ValueError, match="not an object"):
        parse_object(json.dumps(value))


@pytest.mark.parametrize("value", ["x", [2], {}, None, True, math.nan, math.inf, 10**400])
def test_what_is_no_number_is_named(value):
    with pytest.raises(ValueError, match="step should be a number"):
        require_numbers({"step": value}, "step")
    assert is_number(value) == isinstance(value, float)

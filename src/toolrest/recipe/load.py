"""Read a recipe: a YAML file and `key=value` overrides, checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from toolrest.errors import InputError, kind_of, short
from toolrest.io.files import read_text
from toolrest.io.plain_yaml import plain_values
from toolrest.io.redaction import key_in, keys_of_environment, looks_like_key
from toolrest.io.terminal import say
from toolrest.recipe.checks import check_recipe
from toolrest.recipe.evaluated import without_held_out_rows
from toolrest.recipe.mends import explain_key, explain_section, explain_value, key_meant
from toolrest.recipe.paths import with_whole_paths
from toolrest.recipe.schema import Recipe
from toolrest.recipe.shipped import nearest_recipe
from toolrest.recipe.versions import upgrade

_KEYLESS = (
    "looks like a key or a password, which a recipe must not hold; give it in the environment "
    "(OPENAI_API_KEY, HF_TOKEN, WANDB_API_KEY) or in ~/.netrc"
)
_OF_DATA = (".parquet", ".jsonl", ".csv", ".gz")
_DEEPEST_KEY = 20
"""Dots of an override's key."""


_INSTEAD = (
    ("optimizer.micro_batch", "optimizer.micro_tokens"),
    ("optimizer.micro_tokens", "optimizer.micro_batch"),
    ("evaluation.path", "data.heldout_fraction"),
)
"""An override of the first takes the place of the second: both say how large a forward is, or which
rows are evaluated on.
"""


def load_recipe(path: Path | None, overrides: list[str]) -> Recipe:
    """Read a recipe and apply `key=value` overrides, such as `rollout.group_size=4`.

    Raises:
        InputError: no such file, not YAML, an unknown key (with the nearest known one), or a value
            that does not fit.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read(path)
    override_all(values, overrides)
    source = str(path) if path is not None else "the recipe"
    return parse_recipe(values, source)


def recipe_of_text(text: str, source: str) -> Recipe:
    """The recipe of a YAML text; `source` is named in errors.

    Raises:
        InputError: see `load_recipe`.
    """
    return parse_recipe(_values(text, source), source)


def load_run_recipe(path: Path, overrides: list[str], *, trusted: bool) -> Recipe:
    """The recipe that lies in a run's folder, whoever made it.

    Its own `trust_remote_code` counts for nothing.

    Args:
        overrides: `key=value` settings of the command.
        trusted: whether the command says that code which comes with the policy may run.

    Raises:
        InputError: see `load_recipe`.
    """
    values = _read(path) | {"trust_remote_code": trusted}
    override_all(values, overrides)
    return parse_recipe(values, str(path))


def override_all(values: dict[str, Any], overrides: list[str]) -> None:
    """Apply overrides; one of two keys that say the same thing takes the other's place."""
    given = {key.strip(): value.strip() for key, _, value in (t.partition("=") for t in overrides)}
    for key, other in _INSTEAD:
        if given.get(key, "null") not in ("null", "~", "") and other not in given:
            section, _, name = other.partition(".")
            inside = values.get(section)
            if isinstance(inside, dict):
                inside.pop(name, None)
    for text in overrides:
        override(values, text)


def parse_recipe(values: dict[str, Any], source: str) -> Recipe:
    """The recipe of plain values, its paths made whole; `source` is named in errors and notes."""
    if isinstance(values.get("engine"), str):
        values = values | {"engine": {"name": values["engine"]}}
    values, notes = upgrade(values, source)
    for note in notes:
        say(note, err=True)
    _check_keys(values, Recipe, "")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{source}: {explain_value(error)}") from error
    recipe = without_held_out_rows(with_whole_paths(recipe))
    check_recipe(recipe)
    _check_keyless(recipe.model_dump(mode="json"), "", keys_of_environment())
    return recipe


def override(values: dict[str, Any], written: str) -> None:
    """Set one `key=value` in plain values.

    Raises:
        InputError: it is not written so.
    """
    key, equals, text = written.partition("=")
    if not equals and (meant := key_meant(key)) is not None:
        raise InputError(f"{short(written)}: a setting is written KEY=VALUE; write {meant}=VALUE")
    if not equals or not key or key.count(".") > _DEEPEST_KEY:
        raise InputError(f"{short(written)}: an override is written key=value, as in max_steps=5")
    value = plain_values(text, f"{short(written)}: the value")
    if " #" in text and text.strip()[:1] not in ("'", '"', "[", "{"):
        raise InputError(f"{short(written)}: what follows # would be left out; quote the value")
    if isinstance(value, str):
        value = _number(value)
    if key == "engine" and isinstance(value, str):
        key = "engine.name"
    *parents, last = key.split(".")
    for parent in parents:
        if parent == "engine" and isinstance(values.get(parent), str):
            values[parent] = {"name": values[parent]}
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise InputError(f"{short(written)}: {short(parent)} is a value, not a section")
        values = child
    values[last] = value


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise InputError(f"{path}: {_folder(path)}")
    if path.suffix in _OF_DATA:
        raise InputError(f"{path}: a file of data, not a recipe; write data.path={path}")
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such recipe; {nearest_recipe(str(path))}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the recipe cannot be read ({error})") from error
    return _values(text, str(path))


def _values(text: str, source: str) -> dict[str, Any]:
    values = plain_values(text, source)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{source}: a recipe is a mapping of keys, not {kind_of(values)}")
    return values


def _folder(path: Path) -> str:
    """What to do with a folder that is given as a recipe."""
    if not (path / "recipe.yaml").is_file():
        return "a folder; name a recipe (.yaml)"
    return (
        f"the folder of a run; go on with it by --resume {path}, or begin anew by its recipe, "
        f"{path / 'recipe.yaml'}"
    )


def _number(text: str) -> str | float:
    """YAML 1.1 reads 1e-6 as text; a recipe's user means the number."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def _check_keys(values: dict[str, Any], model: type[BaseModel], prefix: str) -> None:
    for key, value in values.items():
        if key not in model.model_fields:
            known = [prefix + name for name in model.model_fields]
            raise InputError(explain_key(f"{prefix}{key}", known))
        section = model.model_fields[key].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            if not isinstance(value, dict):
                inner = list(section.model_fields)
                raise InputError(explain_section(f"{prefix}{key}", value, inner))
            _check_keys(value, section, f"{prefix}{key}.")


def _check_keyless(value: Any, key: str, keys: Mapping[str, str]) -> None:
    """A recipe is kept and shown, so it holds no keys."""
    if isinstance(value, dict):
        for name, each in value.items():
            if looks_like_key("", str(name)) or key_in(str(name), keys):
                raise InputError(f"{key}: one of its names {_KEYLESS}")
            _check_keyless(each, f"{key}.{name}" if key else str(name), keys)
    elif isinstance(value, list):
        for each in value:
            _check_keyless(each, key, keys)
    elif isinstance(value, str) and (variable := key_in(value, keys)) is not None:
        raise InputError(
            f"{key}: it holds the value of the variable {variable}, which is taken for a key, and "
            f"which a recipe must not hold; take it out, or unset {variable} if it is none"
        )
    elif isinstance(value, str) and looks_like_key(key, value):
        raise InputError(f"{key}: it {_KEYLESS}")

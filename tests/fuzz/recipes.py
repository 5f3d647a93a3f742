"""Random recipes: every one gives a recipe or one `InputError`, and nothing else.

    python tests/fuzz/recipes.py --examples 10000

Values are drawn from the models' own JSON schema, so that most of a recipe is right and one place
of it is not; and overrides from text. tests/fuzz/test_recipes.py runs a few hundred in the suite.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from toolrest.errors import InputError
from toolrest.recipe import Recipe, dump_recipe, load_recipe

SCHEMA = Recipe.model_json_schema()
SLOW = 5.0
"""Seconds after which a recipe counts as a hang."""
LONGEST = 2000
"""Characters of an error."""
WORDS = [
    *("rest", "rest*stare", "embedded", "hermes", "rlla", "partial", "all-linear", "ddp", "none"),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "~/x",
        "a\0b",
        "..",
        "",
        " ",
        "\x1b[2J",
        "<script>",
        "\r\n",
    ),
    *("\u202e\u2028", "\ud800", "x" * 5000, "!!python/object:os.system", "*a", "&a", "{", "NaN"),
    *("9" * 5000, "1e400", "0x_", "2001-99-99", "1:99:99.9", "=", "<<", "é", "true", "null"),
]
numbers = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**400, -(10**400)]),
    st.floats(allow_nan=True, allow_infinity=True),
)
texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=20))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(texts, st.integers(0, 3)), inner, max_size=3),
    ),
    max_leaves=6,
)


USUAL: dict[str, Any] = {
    "dialect": st.just("rlla"),
    "schedule": st.sampled_from(["rest", "constant", "official", "binary"]),
    "correctness": st.just({"partial": 1.0}),
    "name": st.sampled_from(["a", "run-1.b"]),
    "mini_batch": st.none(),
    "micro_batch": st.none(),
    "save_steps": st.just(10),
    "iterations": st.just(1),
    "processes": st.just(1),
    "nodes": st.just(1),
    "mode": st.just("sync"),
    "options": st.just({}),
    "every": st.just(0),
    "sources": st.just([]),
}
"""What fits together, for fields that other fields limit."""


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema allows, or nearly: limits are kept most of the time."""
    schema = _resolved(schema)
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if "anyOf" in schema:
        return st.one_of([fitting(each) for each in schema["anyOf"]])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        parts = {name: one(part, name) for name, part in schema["properties"].items()}
        return st.fixed_dictionaries({}, optional=parts)
    if kind == "object":
        return st.dictionaries(texts, anything, max_size=3)
    if kind == "array":
        return st.lists(fitting(schema["items"]), max_size=3)
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 64))
        if kind == "integer":
            return st.integers(int(low), int(high))
        return st.floats(float(low), float(high), allow_nan=False)
    return {"boolean": st.booleans(), "null": st.none()}.get(str(kind), texts)


def one(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """A value of a schema; now and then one of anything."""
    usual = USUAL.get(name, fitting(schema))
    kinds = {0: anything, 1: fitting(schema)}
    return st.integers(0, 79).flatmap(lambda n: kinds.get(n, usual))


def _paths(schema: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, part in _resolved(schema)["properties"].items():
        found.append((prefix + name, part))
        if "properties" in _resolved(part):
            found += _paths(part, f"{prefix}{name}.")
    return found


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


some_overrides = st.lists(
    st.one_of(
        st.sampled_from(_paths(SCHEMA)).flatmap(
            lambda pair: one(pair[1]).map(lambda value: f"{pair[0]}={_written(value)}")
        ),
        st.tuples(st.sampled_from(_paths(SCHEMA)), texts).map(lambda p: f"{p[0][0]}={p[1]}"),
        st.tuples(texts, texts).map("=".join),
        texts,
    ),
    max_size=3,
)
overrides = st.one_of(st.just([]), some_overrides)
trees = st.one_of(
    fitting(SCHEMA), st.sampled_from(_paths(SCHEMA)).flatmap(lambda p: nested(p)), anything
)
HOSTILE = [
    "[" * 5000,
    "{a: " * 3000,
    "weighting: {options: &a {b: *a}}",
    "weighting: {options: {a: &a [*a]}}",
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
    ),
    "weighting:\n  options:\n    a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"    {chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n"
        for i in range(9)
    ),
    "max_steps: !!python/object/apply:os.system ['touch hacked']",
    "!!python/object/new:os.system ['touch hacked']",
    *("max_steps: 2001-99-99", "max_steps: !!int x", "max_steps: !!timestamp x", "? [a]\n: b"),
    *("max_steps: !!bool x", "max_steps: 0x_", "max_steps: 0b_", "seed: " + "9" * 5000, "seed: 1_"),
    *("max_steps: !!binary é", "- a", "--- a\n--- b", "\0", "\ufeff", "a: \t b", "? ", "null", "3"),
    *("name: !!set {a, b}", "name: !!omap [a: b]", "<<: 3", "<<: [1]", "~: 1", "2: 1", ".nan: 1"),
    *(
        "report_to: [wandb, 3]",
        "data: {sources: [3, {path: x, y: 2}]}",
        "engine: verl",
        "engine: x",
    ),
]


def nested(pair: tuple[str, dict[str, Any]]) -> st.SearchStrategy[Any]:
    """A recipe with one key, which may have any value."""

    def build(value: Any) -> Any:
        for part in reversed(pair[0].split(".")):
            value = {part: value}
        return value

    return st.one_of(anything, fitting(pair[1])).map(build)


def check(text: str | bytes, written: list[str], folder: Path) -> bool:
    """Whether the recipe is one. Raises whatever reading it should not."""
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    began = time.process_time()  # whatever else the machine does
    try:
        recipe = load_recipe(path, list(written))
    except InputError as error:
        assert str(error).strip()
        assert len(str(error)) < LONGEST, str(error)[:300]
        return False
    finally:
        assert time.process_time() - began < SLOW, (text, written)
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    again = load_recipe(path, [])
    assert dump_recipe(again) == dump_recipe(recipe)
    assert all(math.isfinite(value) for value in _numbers(recipe.model_dump()))
    assert sorted(each.name for each in folder.iterdir()) == ["recipe.yaml"]
    return True


def _numbers(value: Any) -> list[float]:
    """The numbers of a recipe but for options, which their schemes and engines check."""
    if isinstance(value, dict):
        return [n for key, each in value.items() if key != "options" for n in _numbers(each)]
    if isinstance(value, list):
        return [n for each in value for n in _numbers(each)]
    return [value] if isinstance(value, float) else []


def as_yaml(tree: Any) -> str:
    """A tree as a recipe file's text."""
    return yaml.safe_dump(tree, allow_unicode=True)


def fuzz(examples: int, folder: Path, told: Callable[[bool], object] = lambda good: None) -> None:
    """Check so many random recipes, and the hostile ones by hand."""
    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 1000,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )

    @limits
    @given(st.one_of(trees.map(as_yaml), st.binary(max_size=60)), overrides)
    def every(text: str | bytes, written: list[str]) -> None:
        told(check(text, written, folder))

    told(check("", ["weighting.options." + "a." * 5000 + "a=1"], folder))
    told(check("weighting: {options: " + "{a: " * 200 + "1" + "}" * 201 + "}", [], folder))
    for text in HOSTILE:
        told(check(text, [], folder))
        told(check("", [f"weighting.options={text}"], folder))
        told(check("", [text], folder))
    every()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    asked = parser.parse_args()
    seen: list[bool] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        fuzz(asked.examples, Path(scratch), seen.append)
    sys.stdout.write(
        f"{len(seen)} recipes, {sum(seen)} of them good, {time.monotonic() - start:.0f} s\n"
    )

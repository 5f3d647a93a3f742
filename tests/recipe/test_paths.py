"""Paths of a recipe are whole once it is read, and what is drawn from a file stays what it was."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolrest.data.decompose import Rendering
from toolrest.data.sources import Source, iterate_samples
from toolrest.experiments.methods import read_methods
from toolrest.recipe import dump_recipe, load_recipe, parse_recipe
from toolrest.recipe.paths import PATHS, whole_path

TOOL = json.dumps([{"name": "look", "description": "", "parameters": {"at": {"type": "int"}}}])
SMALL = (
    "max_steps=1 save_steps=1 rollout.prompts_per_step=2 rollout.group_size=2 "
    "rollout.max_response_tokens=8 evaluation.samples=2"
)
RENDERING = Rendering(dialect="rlla", style="rlla", thoughts="none", think=True)


def write_rows(path, count):
    rows = [
        {
            "query": f"Look at {n}.",
            "tools": TOOL,
            "answers": json.dumps([{"name": "look", "arguments": {"at": n}}]),
        }
        for n in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "data" / "rows.jsonl", 40)
    (tmp_path / "own.py").write_text("def score(completions, **_): return [0.5] * len(completions)")
    (tmp_path / "ddp").mkdir()
    (tmp_path / "sharding.yaml").write_text("{}")
    (tmp_path / "owner" / "policy").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "written", "whole"),
    [
        ("policy", "embedded", "embedded"),
        ("policy", "owner/policy", "{}/owner/policy"),
        ("policy", "owner/other", "owner/other"),
        ("policy", "word", "word"),
        ("policy", "./not there", "{}/not there"),
        ("policy", "a/b/c", "{}/a/b/c"),
        ("data.path", "data/rows.jsonl", "{}/data/rows.jsonl"),
        ("data.path", "data/none.jsonl", "data/none.jsonl"),
        ("data.path", "/x/rows.jsonl", "/x/rows.jsonl"),
        ("data.path", "~no such user~/x", "~no such user~/x"),
        ("reward.function", "own.py:score", "{}/own.py:score"),
        ("reward.function", "/x/own.py:score", "/x/own.py:score"),
        ("reward.function", "own.py", "own.py"),
        ("environment.source", "own.py:Bank", "{}/own.py:Bank"),
        ("environment.source", "own.py", "{}/own.py"),
        ("environment.source", "/x/own.py:Bank", "/x/own.py:Bank"),
        ("environment.source", "world", "world"),
        ("environment.source", "bfcl", "bfcl"),
        ("environment.source", "http://127.0.0.1:80/own.py:x", "http://127.0.0.1:80/own.py:x"),
        ("engine.sharding", "sharding.yaml", "{}/sharding.yaml"),
        ("engine.sharding", "zero3", "zero3"),
    ],
)
def test_a_path_is_whole_and_a_name_stays_a_name(key, written, whole, there):
    assert whole_path(key, written) == whole.format(there)


def test_a_shipped_name_is_no_folder_of_that_name(there):
    assert load_recipe(None, ["engine.sharding=ddp"]).engine.sharding == "ddp"


@given(st.sampled_from(PATHS), st.text(max_size=20))
def test_what_is_whole_stays(key, written):
    once = whole_path(key, written)
    assert whole_path(key, once) == once


@pytest.mark.parametrize("home", ["~/x.jsonl"])
def test_a_home_is_written_out(home, monkeypatch):
    monkeypatch.setenv("HOME", "/homes/me")
    assert whole_path("data.path", home) == "/homes/me/x.jsonl"


def test_a_recipe_means_the_same_from_another_folder(there, monkeypatch):
    source = "[{path: data/rows.jsonl, share: 0.5, mask: 0.5}]"
    recipe = load_recipe(None, [f"data.sources={source}", "reward.function=own.py:score"])
    elsewhere = there / "else"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = parse_recipe(yaml.safe_load(dump_recipe(recipe)), "x")
    assert again == recipe
    assert recipe.data.sources[0].path == f"{there}/data/rows.jsonl"
    assert recipe.reward.function == f"{there}/own.py:score"


@pytest.mark.parametrize("how", [{"share": 0.5}, {"take": 7}, {"mask": 0.5}])
def test_what_is_drawn_does_not_depend_on_where_the_folder_lies(how, there, monkeypatch):
    """The draws are those of the path as it is written, as they were before paths were whole."""
    found = []
    for place in ("one", "two"):
        write_rows(there / place / "data" / "rows.jsonl", 40)
        monkeypatch.chdir(there / place)
        written = json.dumps([{"path": "data/rows.jsonl", **how}])
        (source,) = load_recipe(None, [f"data.sources={written}"]).sources
        assert source.path == str(there / place / "data" / "rows.jsonl")
        found.append([sample.ground_truth for sample in iterate_samples(source, RENDERING, 3)])
        plain = Source("data/rows.jsonl", **how)
        assert found[-1] == [s.ground_truth for s in iterate_samples(plain, RENDERING, 3)]
    assert found[0] == found[1]


def test_overrides_of_methods_are_whole_too(there):
    (method,) = read_methods("mine:reward.function=own.py:score+data.path=data/rows.jsonl")
    assert method.overrides == (
        f"reward.function={there}/own.py:score",
        f"data.path={there}/data/rows.jsonl",
    )


@pytest.mark.slow
def test_a_comparison_and_a_resumed_run_find_their_files(there, forking):
    small = [*SMALL.split(), "data.max_prompt_tokens=4000"]
    own = ["data.sources=[{path: data/rows.jsonl, share: 0.9}]", "reward.function=own.py:score"]
    words = ["compare", *small, *own, "--methods", "grpo", "--seeds", "1"]
    done = forking.run(*words, cwd=there)
    assert done.returncode == 0, done.stderr
    assert (there / "comparison" / "compare.json").is_file()
    run = there / "comparison" / "runs" / "grpo-seed0"
    (run / "summary.json").unlink()
    again = forking.run("train", "--resume", str(run), "--trust-remote-code", cwd="/")
    assert again.returncode == 0, again.stderr
    assert (run / "summary.json").is_file()

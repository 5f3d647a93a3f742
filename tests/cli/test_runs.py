"""The list of runs, and the names that they get."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.cli.plan import default_name
from toolrest.recipe import Recipe
from toolrest.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def listed():
    found = CliRunner().invoke(app, ["runs", "--json"])
    assert found.exit_code == 0, found.output
    return {run["name"]: run for run in json.loads(found.stdout)}


def make(name, recipe="max_steps: 4\npolicy: /somewhere/small\n", steps=0, **evaluations):
    run = RunFolder(Path("runs") / name)
    run.evaluation.mkdir(parents=True)
    run.recipe.write_text(recipe)
    if steps:
        run.metrics.write_text("".join(f'{{"step": {n + 1}}}\n' for n in range(steps)))
    for when, values in evaluations.items():
        (run.evaluation / f"{when}.json").write_text(json.dumps(values))
    return run


def test_each_run_has_its_state_steps_and_figures():
    exact = {"exact_match": 0.25, "greedy_exact_match": 0.5}
    make("done", steps=4, before=exact, after={"exact_match": 0.5}).summary.write_text("{}")
    stopped = make("stopped", steps=3, before=exact)
    stopped.curve.write_text(
        json.dumps({"step": 0} | exact)
        + "\n"
        + json.dumps({"step": 2, "exact_match": 0.75, "greedy_exact_match": 0.875})
        + "\n"
    )
    make("broken", recipe="{")
    make("taught", recipe="method: sft\nwarm_start: {steps: 7}\n")
    running = make("running", recipe="weighting: {scheme: uniform}\n")
    with running.held():
        found = listed()
        shown = CliRunner().invoke(app, ["runs"]).stdout
    states = {name: run["state"] for name, run in found.items()}
    assert states == {
        **{"done": "done", "stopped": "stopped", "broken": "broken"},
        **{"taught": "stopped", "running": "running"},
    }
    done = found["done"]
    assert (done["steps"], done["of"], done["policy"], done["scheme"]) == (4, 4, "small", "rest")
    assert (done["before"], done["after"], done["greedy"]) == (0.25, 0.5, False)
    half = found["stopped"]
    assert (half["steps"], half["before"], half["after"], half["greedy"]) == (3, 0.5, 0.875, True)
    assert (found["taught"]["scheme"], found["taught"]["of"]) == ("sft", 7)
    assert found["running"]["scheme"] == "uniform" and found["running"]["before"] is None
    assert "25.0% -> 50.0%, sampled" in shown and "50.0% -> 87.5%, greedy" in shown
    assert "3/4" in shown and not {"None", "nan"} & set(shown.split())


def test_a_folder_without_runs_says_so_and_a_file_is_refused():
    assert "no runs in runs; toolrest train" in CliRunner().invoke(app, ["runs"]).stdout
    assert listed() == {}
    Path("file").write_text("")
    assert CliRunner().invoke(app, ["runs", "file"]).exit_code == 2


@pytest.mark.parametrize(
    ("recipe", "path", "name"),
    [
        ({}, None, "rest-embedded-seed0"),
        ({}, "embedded.yaml", "embedded-rest-seed0"),
        ({"data": {"path": "a/rlla_sft.json"}}, None, "rest-embedded-rlla_sft-seed0"),
        (
            {"policy": "Qwen/Qwen3-0.6B", "data": {"path": "rows.jsonl.gz"}, "seed": 2},
            "mine.yaml",
            "mine-rest-Qwen3-0.6B-rows-seed2",
        ),
        ({"method": "sft", "data": {"sources": [{"path": "a/b"}] * 2}}, None, None),
    ],
)
def test_a_default_name_says_recipe_scheme_policy_and_data(recipe, path, name):
    found = default_name(Recipe(**recipe), None if path is None else Path(path))
    assert found == (name or "sft-embedded-mixture-seed0")


@pytest.mark.parametrize("method", ["rl", "sft"])
def test_what_a_recipe_leaves_unsaid_is_the_schema_s(method, monkeypatch):
    usual = Recipe(
        method=method,
        policy="other",
        max_steps=77,
        warm_start={"steps": 88},
        weighting={"scheme": "uniform"},
    )
    monkeypatch.setattr("toolrest.runs.listing.Recipe", lambda: usual)
    make("bare", recipe="seed: 0\n")
    found = listed()["bare"]
    of, scheme = (77, "uniform") if method == "rl" else (88, "sft")
    assert (found["of"], found["scheme"], found["policy"]) == (of, scheme, "other")

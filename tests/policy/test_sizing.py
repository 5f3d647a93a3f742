"""A recipe fitted to a policy in a folder, the machine and rows in a file."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.data.prompts import render_prompt
from toolrest.engines.common.run_rows import run_samples
from toolrest.errors import InputError
from toolrest.estimate.needs import Device
from toolrest.estimate.settings import KEYS
from toolrest.policy import sizing
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import (
    Recipe,
    changed,
    dump_recipe,
    load_recipe,
    override,
    parse_recipe,
    read_reasons,
    says,
)
from toolrest.runs.folder import RunFolder
from toolrest.training import run_training

CPU = Device("this machine's CPU", 16e9)
THOUGHT = " ".join(["word"] * 300)


class Heard:
    """A view that keeps what it is told."""

    def __init__(self):
        self.lines, self.steps = [], []

    def stage(self, text, total=None):
        self.lines.append(text)

    def advance(self, done):
        pass

    def step(self, step, metrics):
        self.steps.append((step, metrics))

    def note(self, text):
        self.lines.append(text)

    warn = note


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sizing, "look_at_device", lambda: CPU)


@pytest.fixture
def policy(tmp_path):
    folder = tmp_path / "policy"
    shutil.copytree(str(files("toolrest.world") / "policy"), folder)
    return str(folder)


def rows(path, count=40, thought=THOUGHT):
    """Demonstrations of over 300 tokens."""
    with open(path, "w") as out:
        for number in range(count):
            reply = f"<think> {thought} </think>\n<response> {number} </response>"
            row = {"system": "", "instruction": f"Question {number}", "input": "", "output": reply}
            out.write(json.dumps(row) + "\n")
    return path


def test_the_embedded_default_run_is_as_it_was():
    """Nothing of it is worked out: its recipe is the schema, whole, without a comment."""
    recipe = Recipe()
    assert sizing.size_recipe(recipe, load_tokenizer(recipe)) == (recipe, ())
    shown = CliRunner().invoke(app, ["train", "--dry-run"]).stdout
    assert shown.startswith(dump_recipe(recipe)) and "worked out" not in shown
    known = (recipe.optimizer.learning_rate, recipe.optimizer.micro_batch)
    known += (recipe.rollout.prompts_per_step, recipe.rollout.group_size)
    known += (recipe.rollout.max_response_tokens, recipe.data.max_prompt_tokens)
    known += (recipe.engine.precision, recipe.warm_start.learning_rate)
    assert known == (2e-4, None, 16, 8, 192, 1024, "auto", 1e-4)


@pytest.mark.slow
def test_a_run_says_and_keeps_what_was_worked_out_and_a_resumed_one_has_it(policy, monkeypatch):
    said = {
        "policy": policy,
        "max_steps": 1,
        "save_steps": 1,
        "rollout": {"prompts_per_step": 2, "group_size": 2},
        "evaluation": {"samples": 0},
    }
    run, view = RunFolder(Path("run")), Heard()
    run.path.mkdir()
    run_training(parse_recipe(said, "x"), run, view, resume=False)
    text = run.recipe.read_text()
    kept = load_recipe(run.recipe, [])
    reasons = read_reasons(text)
    assert set(reasons) == {
        "engine.precision",
        "rollout.max_response_tokens",
        "data.max_prompt_tokens",
        "optimizer.learning_rate",
        "optimizer.micro_batch",
        "warm_start.learning_rate",
    }
    assert "learning_rate: 0.0002  # worked out: all parameters of a policy of" in text
    assert f"rollout.max_response_tokens={kept.rollout.max_response_tokens}: " in "".join(
        view.lines
    )
    assert any(line.startswith("time: about ") for line in view.lines)
    monkeypatch.setattr(sizing, "look_at_device", lambda: Device("less", 3e9))
    again, made = sizing.size_recipe(kept, load_tokenizer(kept))
    assert again == kept and made == ()


def test_old_runs_recipes_keep_their_values(policy, tmp_path):
    """A recipe of an earlier version says every key, a forward of all responses included."""
    old = Recipe(policy=policy).model_dump(mode="json")
    (tmp_path / "recipe.yaml").write_text(dump_recipe(parse_recipe(old, "x")))
    recipe = load_recipe(tmp_path / "recipe.yaml", [])
    assert recipe.optimizer.micro_batch is None
    assert sizing.size_recipe(recipe, load_tokenizer(recipe)) == (recipe, ())


def test_a_recipe_that_processes_complete_is_written_as_it_was_said():
    recipe = parse_recipe({"policy": "a/b", "rollout": {"group_size": 4}}, "x")
    again = parse_recipe(yaml.safe_load(dump_recipe(recipe, said=True)), "x")
    assert again == recipe and [key for key in KEYS if says(again, key)] == ["rollout.group_size"]
    reasons = {"rollout.group_size": "because: of # that", "data.max_prompt_tokens": "rows"}
    text = dump_recipe(recipe, reasons)
    assert read_reasons(text) == reasons
    whole = parse_recipe(recipe.model_dump(mode="json"), "x")
    assert parse_recipe(yaml.safe_load(text), "x") == whole


class Loaded(Exception):
    """The policy would be loaded now."""


@pytest.mark.slow
def test_memory_that_is_not_there_is_refused_before_anything_is_loaded(policy, monkeypatch):
    """And what the refusal names is enough."""

    def load(*positional, **keywords):
        raise Loaded

    monkeypatch.setattr(sizing, "look_at_device", lambda: Device("this machine's CPU", 2.2e9))
    monkeypatch.setattr("toolrest.engines.trl.job.load_policy", load)
    said = {"policy": policy, "optimizer": {"micro_batch": 128}}
    run = RunFolder(Path("run"))
    run.path.mkdir()
    refused = r"memory: the run needs .* GB free; what fits: "
    with pytest.raises(InputError, match=refused) as error:
        run_training(parse_recipe(said, "x"), run, Heard(), resume=False)
    assert not run.is_used()
    named = str(error.value).partition("what fits: ")[2].split()
    assert any(each.startswith("optimizer.micro_batch=") for each in named)
    plan = [f"policy={policy}", "optimizer.micro_batch=128", "--dry-run"]
    assert CliRunner().invoke(app, ["train", *plan]).exit_code == 2
    for each in named:
        override(said, each)
    with pytest.raises(Loaded):
        run_training(parse_recipe(said, "x"), run, Heard(), resume=False)


def test_rows_are_counted_evenly(policy, monkeypatch):
    recipe = Recipe(policy=policy)
    tokenizer = load_tokenizer(recipe)
    samples = sizing._some_samples(recipe) * 3
    found = sizing.count_tokens(samples, tokenizer, recipe)
    assert len(found.prompts) == len(found.replies) == 256 and found.thoughts
    last = sizing.count_tokens(samples[-1:], tokenizer, recipe)
    shown = samples[-1].demonstration
    assert last.replies == (len(tokenizer(shown, add_special_tokens=False)["input_ids"]) + 1,)
    bare = [sizing.Sample(s.prompt, s.ground_truth, "x", "y") for s in samples[:3]]
    assert not sizing.count_tokens(bare, tokenizer, recipe).thoughts


MADE = {
    "single tasks": (),
    "tasks with a thought": ("data.world.tasks=thoughts", "data.world.idle_sentences=4"),
    "steps of chains": ("environment.source=world", "environment.train=steps"),
}


@pytest.mark.parametrize("words", MADE.values(), ids=MADE)
def test_the_rows_that_are_counted_are_of_those_that_are_trained_on(policy, words):
    """So that next to none of the rows that are made is too long."""
    recipe = load_recipe(None, [f"policy={policy}", *words, "evaluation.samples=0"])
    if recipe.environment.source is not None:
        recipe = changed(recipe, {"environment.rows": 100})
    tokenizer = load_tokenizer(recipe)
    recipe, _ = fit_recipe(recipe, tokenizer)
    found = sizing.count_recipe(recipe, tokenizer)
    samples = run_samples(changed(recipe, {"data.max_prompt_tokens": 4096}), tokenizer).train
    trained = [render_prompt(sample, tokenizer) for sample in samples[:1000]]
    assert len(found.prompts) == 256
    assert set(found.prompts) <= set(map(len, trained))
    sized, _ = sizing.size_recipe(recipe, tokenizer)
    longer = [each for each in trained if len(each) > sized.data.max_prompt_tokens]
    assert len(longer) <= len(trained) / 100
    assert run_samples(sized, tokenizer).left_out <= len(samples) / 100


@pytest.mark.parametrize(
    ("limit", "used", "left"), [("max", "5", 7e9), ("3000000000", "1000000000", 2e9)]
)
def test_a_containers_memory_is_what_is_free(monkeypatch, tmp_path, limit, used, left):
    import psutil

    monkeypatch.setattr(sizing, "_CGROUP", tmp_path)
    known = type("Memory", (), {"available": 7_000_000_000})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: known)
    assert sizing.free_memory() == 7e9
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text(used + "\n")
    assert sizing.free_memory() == left


def test_a_dry_run_of_a_policy_that_is_not_here_is_refused_as_the_run_is(monkeypatch):
    monkeypatch.setattr("toolrest.io.hub.why_unreachable", lambda: "there is no network")
    for policy, said in (("./nowhere", "no such folder"), ("somebody/else", "hf download")):
        for more in ((), ("--dry-run",)):
            found = CliRunner().invoke(app, ["train", f"policy={policy}", *more])
            assert found.exit_code == 2 and said in found.stderr, found.output

"""Keys that a recipe says and that play no part in its run are told in one note."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.experiments.methods import PRESETS, apply_method
from toolrest.recipe import dump_recipe, load_recipe, recipe_of_text
from toolrest.recipe.shipped import find_recipe, shipped_recipes
from toolrest.recipe.unused import UNUSED, unused_note
from toolrest.recipe.write_new import Answers, write_new

WHOLE = (
    *("data.path=rows.jsonl", "warm_start.method=tsft", "lora.rank=4", "rollout.sampler=vllm"),
    *("advantage.credit=spans", "evaluation.samples=8", "reward.function=mine.py:mine"),
)
"""A run in which each key has its part."""
ALONE = ("method=sft", "warm_start.method=none")
AWAY = {
    "_supervised": ALONE,
    "_function_unheard": ALONE,
    "_not_on_the_way": ALONE,
    "_not_scaled": ("warm_start.method=sft",),
    "_not_warmed": ("warm_start.method=none",),
    "_embedded_tasks": ("data.path=null",),
    "_embedded_alone": ("data.path=null",),
    "_embedded_uncut": ("data.path=null",),
    "_no_adapters": ("lora.rank=0",),
    "_no_later_decision": ("advantage.credit=response",),
    "_no_function": ("reward.function=null",),
    "_no_vllm": ("rollout.sampler=auto",),
    "_not_evaluated": ("evaluation.samples=0",),
}
"""What takes the part from keys, by the names of their conditions."""
VALUES = {
    **{"max_steps": "500", "save_steps": "5", "keep_checkpoints": "1"},
    **{"optimizer.learning_rate": "1e-3", "optimizer.name": "adamw_8bit"},
    **{"optimizer.weight_decay": "0.1", "optimizer.schedule": "cosine"},
    **{"optimizer.warmup_steps": "10", "weighting.scheme": "rest", "evaluation.every": "5"},
    **{"reward.function": "other.py:other", "reward.timeout": "5", "guards.reward_error": "skip"},
    **{"warm_start.steps": "500", "warm_start.batch_size": "4", "warm_start.learning_rate": "1"},
    **{"warm_start.scale": "3", "data.prompt": "plain", "data.thoughts": "all"},
    **{"data.think": "false", "data.thought_sentences": "1", "data.heldout_fraction": "0.5"},
    **{"data.max_prompt_tokens": "10", "lora.alpha": "64", "lora.dropout": "0.1"},
    **{"lora.target_modules": "q_proj", "advantage.discount": "0.5"},
    **{"rollout.vllm.mode": "server", "rollout.vllm.memory": "0.5"},
    **{"rollout.vllm.tensor_parallel": "2", "rollout.vllm.server": "http://localhost:9"},
    "rollout.vllm.correction": "false",
}


def told(*words):
    """The keys that the note of a recipe names, in their order."""
    return keys_of(unused_note(load_recipe(None, list(words))))


def keys_of(note):
    if note is None:
        return []
    assert note.startswith("note: ") and "\n" not in note
    listed = [part.rpartition(": ")[2] for part in note.split("; ")]
    return [shown.partition(" ")[0] for part in listed for shown in part.split(", ")]


CASES = [pytest.param(each, id=f"{each.key}-{each.where.__name__}") for each in UNUSED]


@pytest.mark.parametrize("each", CASES)
def test_a_key_is_told_where_it_plays_no_part_and_was_said(each):
    said, away = f"{each.key}={VALUES[each.key]}", AWAY[each.where.__name__]
    assert told(*WHOLE, said) == []
    unsaid = told(*WHOLE, *away)
    if each.key != "reward.function":  # the whole run has one
        assert each.key not in unsaid
    assert told(*WHOLE, said, *away).count(each.key) == 1
    recipe = load_recipe(None, [*WHOLE, said, *away])
    assert unused_note(recipe_of_text(dump_recipe(recipe), "a run's")) is None
    started = recipe_of_text(dump_recipe(recipe, said=True), "a process's")
    assert unused_note(started) == unused_note(recipe)
    instead = f"{each.key} ({each.instead} counts)"
    assert not each.instead or instead in str(unused_note(recipe))


def test_nothing_is_told_where_all_is_said_and_plays_its_part():
    said = [f"{key}={value}" for key, value in VALUES.items()]
    assert told(*WHOLE, *said) == []
    alone = told(*WHOLE, *said, *ALONE)
    assert len(alone) == len(set(alone)) and {"max_steps", "rollout.vllm.mode"} < set(alone)
    assert not {key for key in alone if key.startswith(("data.", "lora."))}


def test_nothing_is_told_of_what_asks_for_nothing():
    assert told() == []
    assert told("method=sft", "evaluation.every=0", "advantage.discount=1") == []
    assert told("method=sft", "reward.function=null") == []
    assert told("evaluation.every=0", "evaluation.samples=0", "advantage.discount=1") == []
    assert told("method=sft", "report_to=tensorboard", "optimizer.max_grad_norm=2") == []


def test_nothing_is_told_of_what_plays_another_part():
    """Rows to evaluate on and benchmarks are worded as data are; forwards are cut by the longest
    prompt; with verl vLLM samples; an environment's reward may be a function.
    """
    assert told("data.think=false", "evaluation.path=held.jsonl") == []
    assert told("data.thoughts=all", "evaluation.benchmarks=world") == []
    assert told("data.max_prompt_tokens=64", "optimizer.micro_batch=4") == []
    assert told("data.max_prompt_tokens=64", "policy=a/b") == []
    assert told("data.heldout_fraction=0.5", "policy=a/b") == []
    assert told("engine=verl", "rollout.vllm.memory=0.5") == []
    assert told("evaluation.every=5", "evaluation.samples=0", "evaluation.benchmarks=world") == []
    with_one = ("environment.source=world", "environment.train=steps", "reward.function=f.py:f")
    assert told("method=sft", *with_one, "reward.timeout=5", "data.think=true") == []


def test_the_note_in_words():
    words = ["method=sft", "max_steps=9", "save_steps=3", "lora.alpha=8"]
    assert unused_note(load_recipe(None, words)) == (
        "note: with lora.rank=0 these play no part: lora.alpha; "
        "with method=sft: max_steps (warm_start.steps counts), save_steps"
    )
    assert unused_note(load_recipe(None, words[:2])) == (
        "note: with method=sft this plays no part: max_steps (warm_start.steps counts)"
    )


def test_a_run_of_a_version_with_fewer_keys_is_told_nothing():
    kept = dump_recipe(load_recipe(None, ["method=sft"])).partition("guards:")[0]
    assert unused_note(recipe_of_text(kept, "a run's")) is None


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_say_nothing_that_plays_no_part(name):
    """One is meant with a file of rows: without it, its limit of prompts has no part."""
    recipe = find_recipe(name)
    if name == "rlla-smoke":
        assert keys_of(unused_note(load_recipe(recipe, []))) == ["data.max_prompt_tokens"]
        assert unused_note(load_recipe(recipe, ["data.path=rows.parquet"])) is None
    else:
        assert unused_note(load_recipe(recipe, [])) is None


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_of_compare_say_nothing_that_plays_no_part(name):
    base = "agent-embedded" if name in ("steps", "trajectories", "turns") else "stability-embedded"
    method = apply_method(load_recipe(find_recipe(base), []), PRESETS[name])
    assert unused_note(method) is None


@pytest.mark.parametrize("method", ["rl", "sft"])
def test_a_recipe_that_new_writes_says_nothing_that_plays_no_part(method):
    answers = Answers("a", "c.jsonl", method, dialect="hermes", dialect_why="named", think=False)
    assert unused_note(recipe_of_text(write_new(answers, "x.yaml"), "x.yaml")) is None


SHORT = ("method=sft", "warm_start.steps=1", "warm_start.batch_size=2", "evaluation.samples=0")


@pytest.mark.parametrize("more", [(), ("engine=verl",)], ids=["trl", "verl"])
def test_a_plan_has_the_note(tmp_path, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    words = ["policy=some/policy", "data.path=rows.parquet"] if more else []
    Path("rows.parquet").touch()
    plan = CliRunner().invoke(app, ["train", "--dry-run", "lora.alpha=8", *words, *more])
    assert plan.exit_code == 0, plan.output
    line = "# note: with lora.rank=0 this plays no part: lora.alpha"
    assert plan.stdout.splitlines().count(line) == 1


@pytest.mark.slow
def test_a_run_tells_the_note_once_and_a_resumed_one_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "name=a", *SHORT, "max_steps=500"])
    assert done.exit_code == 0, done.output
    line = "note: with method=sft this plays no part: max_steps (warm_start.steps counts)"
    assert done.stdout.splitlines().count(line) == 1
    assert len(Path("runs/a/metrics.jsonl").read_text().splitlines()) == 1
    Path("runs/a/summary.json").unlink()
    again = CliRunner().invoke(app, ["train", "--resume", "runs/a"])
    assert again.exit_code == 0 and "plays no part" not in again.output, again.output
    assert json.loads(Path("runs/a/summary.json").read_text())["steps"] == 1

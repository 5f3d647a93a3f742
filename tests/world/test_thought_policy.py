import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from toolrest.core.vocabulary import Vocabulary
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe, load_recipe
from toolrest.recipe.shipped import find_recipe
from toolrest.world import build_thoughts
from toolrest.world.tasks import Split
from toolrest.world.teaching import NOT_LEARNED
from toolrest.world.thought_tasks import MOST_IDLE, Knobs, make_thought_task

WORLD = Path(str(files("toolrest.world")))
POLICY = WORLD / "thought_policy"


def test_the_recipe_of_these_tasks_has_their_policy():
    assert policy_path(load_recipe(find_recipe("thoughts-embedded"), [])) == str(POLICY)
    assert policy_path(Recipe()) == str(WORLD / "policy")


def test_the_shipped_policy_is_small_and_safe():
    names = {path.name for path in POLICY.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "build.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert (POLICY / "model.safetensors").stat().st_size < 4_000_000
    record = json.loads((POLICY / "build.json").read_text())
    assert record["seed"] == build_thoughts.SEED
    assert record["lessons"] == [
        {"name": lesson.name, "steps": lesson.steps} for lesson in build_thoughts.LESSONS
    ]


def test_it_reads_the_same_tokens_as_the_others():
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (POLICY / name).read_bytes() == (WORLD / "policy" / name).read_bytes()


def test_the_answer_alone_is_learned(embedded_tokenizer):
    vocabulary = Vocabulary.from_tokenizer(embedded_tokenizer)
    task = make_thought_task(Split.TRAIN, 0, 1, Knobs(1.0, 2))
    ids, labels = build_thoughts.labelled(embedded_tokenizer, task, "<think> Well. </think>")
    learned = [label for label in labels if label != NOT_LEARNED]
    assert vocabulary.text(learned[:-1]) == "<think> Well. </think>"
    assert learned[-1] in vocabulary.end_ids
    assert ids[-len(learned) :] == learned
    assert vocabulary.text(ids[: -len(learned)]).endswith("assistant\n")


def test_no_answer_is_longer_than_the_recipe_s_responses(embedded_tokenizer):
    from toolrest.world.sets import demonstrated_world

    most = load_recipe(find_recipe("thoughts-embedded"), []).rollout.max_response_tokens
    shown = demonstrated_world(Split.TRAIN, 300, 0, Knobs(1.0, MOST_IDLE))
    assert max(len(embedded_tokenizer(s.demonstration)["input_ids"]) for s in shown) < most


@pytest.mark.slow
def test_the_build_is_seeded(tmp_path, monkeypatch):
    short = tuple(replace(lesson, steps=2, batch=2) for lesson in build_thoughts.LESSONS)
    monkeypatch.setattr(build_thoughts, "LESSONS", short)
    for name in ("one", "two"):
        build_thoughts.build(tmp_path / name, report=lambda line: None)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    before = load_file(WORLD / "policy" / "model.safetensors")
    assert any(not torch.equal(one[name].float(), before[name]) for name in one)

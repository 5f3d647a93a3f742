import json
import random
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from toolrest.core.dialects import get_dialect
from toolrest.core.vocabulary import Vocabulary
from toolrest.environments.base import Ending
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.shared_prefix import sample_groups
from toolrest.world import build_chains
from toolrest.world.chain_demonstrations import demonstrate_chain
from toolrest.world.chain_tasks import MOST_LINKS
from toolrest.world.chain_tokens import prompt_ids, seam_ids
from toolrest.world.chains import PROGRESS, Chains, chain_rows
from toolrest.world.tasks import Split
from toolrest.world.teaching import NOT_LEARNED

WORLD = Path(str(files("toolrest.world")))
POLICY = WORLD / "chain_policy"
RLLA = get_dialect("rlla")


def outcomes(model, tokenizer, rows):
    """(success, reward) of a greedy trajectory of each row."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    end = tokenizer.eos_token_id
    made = {}
    live = []
    for number, row in enumerate(rows):
        world = Chains()
        live.append((number, world, prompt_ids(world.reset(row, 0).messages, tokenizer), 0.0))
    for _ in range(MOST_LINKS + 2):
        prompts = [ids for _, _, ids, _ in live]
        sampled = sample_groups(
            model, prompts, group_size=1, max_tokens=64, end_ids=[end], draw=None
        )
        going = []
        for (number, world, ids, reward), new in zip(live, sampled, strict=True):
            reply = RLLA.parse(vocabulary.text([i for i in new if i != end]))
            if reply.calls and reply.calls_intact and new[-1] == end:
                step = world.call(reply.calls)
                following = ids + new + seam_ids(step.results, tokenizer)
                going.append((number, world, following, reward + step.reward))
                continue
            ending = Ending.ANSWERED if new[-1] == end and not reply.calls else Ending.BROKEN
            finish = world.finish(reply.response or "", ending)
            made[number] = (finish.success, reward + finish.reward)
        live = going
        if not live:
            break
    return [made.get(number, (False, 0.0)) for number in range(len(rows))]


@pytest.mark.slow
def test_the_shipped_policy_does_some_held_out_chains_and_not_all():
    recipe = Recipe(policy=str(POLICY))
    model, tokenizer = load_policy(recipe).eval(), load_tokenizer(recipe)
    made = outcomes(model, tokenizer, chain_rows(Split.HELDOUT, 40, 1))
    assert 10 <= sum(success for success, _ in made) <= 34
    assert all((reward > PROGRESS) is success for success, reward in made)


def test_the_shipped_policies_are_small_and_safe():
    names = {path.name for path in POLICY.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "build.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    package = [path for path in WORLD.parent.rglob("*") if "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in package if path.is_file()) < 12_000_000
    record = json.loads((POLICY / "build.json").read_text())
    assert record["seed"] == build_chains.SEED
    assert record["lessons"] == [
        {"name": lesson.name, "steps": lesson.steps} for lesson in build_chains.LESSONS
    ]


def test_both_policies_read_the_same_tokens():
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (POLICY / name).read_bytes() == (WORLD / "policy" / name).read_bytes()


def test_the_policy_s_turns_alone_are_learned(embedded_tokenizer):
    vocabulary = Vocabulary.from_tokenizer(embedded_tokenizer)
    for number, row in enumerate(chain_rows(Split.TRAIN, 20)):
        trajectory = demonstrate_chain(row, random.Random(number))
        ids, labels = build_chains.labelled(embedded_tokenizer, trajectory)
        learned = [i for i, label in zip(ids, labels, strict=True) if label != NOT_LEARNED]
        assert learned == [label for label in labels if label != NOT_LEARNED]
        assert vocabulary.text(learned) == "".join(turn.reply for turn in trajectory.turns)
        assert learned.count(embedded_tokenizer.eos_token_id) == len(trajectory.turns)


@pytest.mark.slow
def test_the_build_is_seeded(tmp_path, monkeypatch):
    short = tuple(replace(lesson, steps=2, batch=2) for lesson in build_chains.LESSONS)
    monkeypatch.setattr(build_chains, "LESSONS", short)
    for name in ("one", "two"):
        build_chains.build(tmp_path / name, report=lambda line: None)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    before = load_file(WORLD / "policy" / "model.safetensors")
    assert any(not torch.equal(one[name].float(), before[name]) for name in one)

"""Policies' folders, adapters and runs that somebody made to do harm: drawn, not listed.

    TOOLREST_FUZZ=all pytest tests/fuzz/test_hostile_folders.py

draws 400 of each; without it, 15. Whatever is drawn: nothing of it runs, nothing outside is read,
the network is not asked, and it ends within a minute with a result or with one line.
"""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from canaries import leave_code, watched
from hostile_folders import (
    add_pickle,
    change_index,
    change_json,
    change_kind,
    change_recipe,
)
from safetensors.torch import save_file

from toolrest.policy.folder import policy_path
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

pytestmark = pytest.mark.slow

EXAMPLES = 400 if os.environ.get("TOOLREST_FUZZ") == "all" else 15
EVALUATE = ("--on", "world", "--limit", "1", "--max-tokens", "2", "--quiet")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A whole policy's folder and one of adapters, made once."""
    folder = tmp_path_factory.mktemp("originals")
    whole = Path(shutil.copytree(policy_path(Recipe()), folder / "whole"))
    make_adapters(folder / "adapters", whole)
    return folder


def make_adapters(folder, base, targets=("q_proj",), rank=2):
    """Plain adapters of a policy, as peft writes them."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base / name, folder / name)
    weights = {}
    for name, module in load_policy(Recipe(policy=str(base))).named_modules():
        if name.endswith(tuple(f".{target}" for target in targets)):
            outputs, inputs = module.weight.shape
            weights[f"base_model.model.{name}.lora_A.weight"] = torch.ones(rank, inputs) / 100
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.ones(outputs, rank) / 100
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        **{"peft_type": "LORA", "base_model_name_or_path": str(base), "r": rank, "lora_alpha": 4},
        **{"target_modules": list(targets), "bias": "none", "task_type": "CAUSAL_LM"},
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def harm(folder, outside, mark, rng):
    """One to three changes; what they are."""
    changes = (
        *(lambda: change_json(folder, outside, rng),) * 4,
        lambda: add_pickle(folder, mark, rng),
        lambda: change_kind(folder, rng),
        lambda: change_index(folder, outside, rng),
    )
    leave_code(folder, mark)
    return "; ".join(rng.choice(changes)() for _ in range(rng.choice((1, 1, 2))))


@pytest.mark.parametrize("kind", ["whole", "adapters"])
def test_a_hostile_policy_runs_nothing_and_ends(
    kind, originals, tmp_path, monkeypatch, says_one_line, outside
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    mark = here / "ran"
    for seed in range(EXAMPLES):
        rng = random.Random(seed)
        shutil.rmtree(here / "policy", ignore_errors=True)
        folder = Path(shutil.copytree(originals / kind, here / "policy"))
        said = harm(folder, outside, mark, rng)
        try:
            with watched(outside):
                says_one_line("evaluate", "policy", *EVALUATE)
                if seed % 5 == 0:
                    says_one_line("doctor", "policy=policy", "--no-self-test", codes=(0, 1))
            assert not mark.exists()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {said}: {error}") from error
        shutil.rmtree(here / "evaluations", ignore_errors=True)


COMMANDS = (
    ("inspect", "RUN"),
    ("evaluate", "RUN", *EVALUATE),
    ("evaluate", "RUN/checkpoints/checkpoint-1", *EVALUATE),
    ("report", "RUN"),
    ("train", "--resume", "RUN", "--dry-run"),
    ("train", "--resume", "RUN", "--quiet"),
)


def test_a_hostile_run_runs_nothing_and_ends(made_run, run, says_one_line, refit, outside):
    mark = run.parent / "ran"
    for seed in range(EXAMPLES):
        rng = random.Random(seed)
        shutil.rmtree(run)
        shutil.copytree(made_run, run)
        checkpoint = run / "checkpoints" / "checkpoint-1"
        changes = (
            *(lambda run=run, rng=rng: change_recipe(run, outside, rng),) * 3,
            lambda run=run, rng=rng: change_kind(run, rng),
            lambda c=checkpoint, rng=rng: harm(c, outside, mark, rng),
        )
        leave_code(run, mark)
        leave_code(checkpoint, mark)
        said = "; ".join(rng.choice(changes)() for _ in range(rng.choice((1, 2))))
        state = checkpoint / "toolrest_state.json"
        if state.is_file() and state.stat().st_size < 1 << 20:
            refit(checkpoint)
        command = rng.choice(COMMANDS)
        words = [word.replace("RUN", str(run)) for word in command]
        try:
            with watched(outside):
                says_one_line(*words)
            assert not mark.exists()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {command[:3]}: {said}: {error}") from error

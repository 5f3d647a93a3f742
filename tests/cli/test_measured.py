"""What `gain` and `variance` measure is what a run of the recipe would train."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from chat_templates import shipped
from tiny_policies import CHATML

from toolrest.cli.measured import (
    fitted_recipe,
    measured_policies,
    measured_samples,
    trained_parameters,
)
from toolrest.data.prompts import render_prompt
from toolrest.engines.common.run_rows import run_samples
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.folder import policy_path
from toolrest.policy.sizing import size_recipe
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, dump_recipe, load_recipe
from toolrest.runs.folder import RunFolder

TOOL = {
    "type": "function",
    "function": {
        "name": "look_outside",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"type": "function", "function": {"name": "look_outside", "arguments": {"city": "Oslo"}}}


@pytest.fixture
def given(tmp_path):
    """A recipe of the embedded policy with a template of choice, on rows of chat messages."""

    def make(template, *more):
        for file in Path(policy_path(Recipe())).iterdir():
            if file.name != "chat_template.jinja":
                (tmp_path / file.name).unlink(missing_ok=True)
                (tmp_path / file.name).symlink_to(file)
        (tmp_path / "chat_template.jinja").write_text(template)
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"Is it raining in Oslo? ({number})"},
                    {"role": "assistant", "content": "I look.", "tool_calls": [CALL]},
                ],
                "tools": [TOOL],
            }
            for number in range(8)
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = [f"policy={tmp_path}", f"data.path={tmp_path / 'rows.jsonl'}", *more]
        return load_recipe(None, ["evaluation.samples=0", "rollout.prompts_per_step=4", *words])

    return make


@pytest.mark.parametrize(
    ("template", "more", "dialect"),
    [
        (CHATML, ["dialect=hermes"], "hermes"),
        (CHATML, ["dialect=hermes", "data.think=true"], "hermes"),
        (shipped("qwen2_5"), ["dialect=auto"], "hermes"),
        (shipped("qwen3_5_think"), ["dialect=auto"], "qwen_xml"),
        (shipped("qwen2_5"), ["dialect=llama3"], "llama3"),
    ],
    ids=["no tools", "no tools, thoughts", "its own", "its own, opened", "another's"],
)
def test_prompts_are_those_of_a_run_and_list_the_tools(given, template, more, dialect):
    recipe = given(template, *more)
    measured, tokenizer = fitted_recipe(recipe)
    samples = measured_samples(measured, tokenizer, 3)

    trained, _ = size_recipe(fit_recipe(recipe, tokenizer)[0], tokenizer)
    of_run = run_samples(trained, tokenizer, None).train[:3]
    assert measured == trained
    assert measured.dialect == dialect
    for mine, theirs in zip(samples, of_run, strict=True):
        ids = render_prompt(mine, tokenizer)
        assert ids == render_prompt(theirs, tokenizer)
        assert "look_outside" in tokenizer.decode(ids)
        assert mine.ground_truth == theirs.ground_truth


def test_a_run_s_first_policy_is_the_one_that_it_taught(given, tmp_path):
    """Reinforcement learning began from that one, not from the recipe's."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    recipe = given(CHATML, "dialect=hermes", "warm_start.method=sft")
    run.recipe.write_text(dump_recipe(recipe))
    assert measured_policies([], run.path)[1] == [("step 0", None)]
    shutil.copytree(policy_path(Recipe()), run.warm_start)
    assert measured_policies([], run.path)[1] == [("step 0", run.warm_start)]


def test_parameters_are_those_that_the_recipe_trains(given):
    pytest.importorskip("peft", reason="the extra lora")
    recipe = given(CHATML, "dialect=hermes")
    whole = trained_parameters(load_policy(recipe), recipe)
    recipe = given(CHATML, "dialect=hermes", "lora.rank=2")
    adapters = trained_parameters(load_policy(recipe), recipe)
    assert 0 < sum(map(torch.numel, adapters)) < sum(map(torch.numel, whole)) / 10
    assert not any(p.any() for p in adapters)

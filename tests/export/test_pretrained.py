"""Adapters of a real pretrained policy, exported: transformers alone gives the run's tokens."""

import json
import os
import subprocess
import sys

import pytest
import torch
from small_runs import rows, toolrest

from toolrest.export.find import find_policy
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy

SMOLLM2 = os.environ.get("TOOLREST_SMOLLM2")
SETTINGS = (
    *("max_steps=1", "rollout.prompts_per_step=1", "rollout.group_size=2", "lora.rank=4"),
    *("rollout.max_response_tokens=8", "optimizer.learning_rate=0.01", "evaluation.samples=0"),
    *("dialect=hermes", "data.think=false", "reward.function=rewards.py:first", "--quiet"),
)
REWARD = """
def first(completions, **rest):
    return [float(number == 0) for number, _ in enumerate(completions)]
"""
"""The first response of a group is the better one, so that there is something to learn."""
ALONE = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
asked = json.load(sys.stdin)
prompt = tokenizer.apply_chat_template(
    asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**prompt, max_new_tokens=48, do_sample=False)
assert "toolrest" not in sys.modules
print(json.dumps(output[0].tolist()))
"""
ASKED = [{"role": "user", "content": "What is new in City 5, page 5?"}]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        SMOLLM2 is None,
        reason="TOOLREST_SMOLLM2 is not set: scripts/smollm2.py FOLDER makes the folder it names",
    ),
]


def by_transformers(folder):
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(folder)],
        input=json.dumps(ASKED),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def greedy(model, tokenizer):
    """The prompt and 48 greedy tokens, one forward a token; fewer where the turn ends."""
    ids = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True)["input_ids"]
    ends = {tokenizer.eos_token_id}
    for _ in range(48):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return ids


@pytest.mark.parametrize("form", ["--adapter", "--merged"])
def test_transformers_alone_gives_the_tokens_of_the_run(tmp_path, monkeypatch, form):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    data = rows(tmp_path / "rows.jsonl")
    (tmp_path / "rewards.py").write_text(REWARD)
    toolrest("train", f"policy={SMOLLM2}", f"data.path={data}", "name=run", *SETTINGS)
    toolrest("export", "runs/run", "--to", "out", form)
    taken = find_policy("runs/run", None, warm_start=False)
    recipe = taken.recipe.model_copy(update={"policy": str(taken.folder)})
    tokenizer = load_tokenizer(recipe)
    found = by_transformers(tmp_path / "out")
    assert found == greedy(load_policy(recipe).eval(), tokenizer)
    before = recipe.model_copy(update={"policy": SMOLLM2})
    assert found != greedy(load_policy(before).eval(), tokenizer)

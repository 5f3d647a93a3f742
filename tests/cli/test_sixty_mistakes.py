"""Command lines as people mistype them: each ends with one line that names the mend, exit code 2,
and nothing made. Those of `LIGHT` are answered before torch is imported.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolrest.cli.main import app

LIGHT = {
    # keys under other names, or without their section
    "train learning_rate=1e-5": "optimizer.learning_rate",
    "train lr=1e-5": "optimizer.learning_rate",
    "train optimizer.lr=1e-5": "optimizer.learning_rate",
    "train batch_size=8": "rollout.prompts_per_step",
    "train micro_batch_size=2": "optimizer.micro_batch",
    "train per_device_train_batch_size=2": "optimizer.micro_batch",
    "train epochs=3": "max_epochs",
    "train num_train_epochs=3": "max_epochs",
    "train model=Qwen/Qwen3-0.6B": "write policy=VALUE",
    "train model_name_or_path=Qwen/Qwen3-0.6B": "write policy=VALUE",
    "train dataset=rows.jsonl": "data.path",
    "train beta=0.04": "optimizer.beta",
    "train kl_coef=0.1": "optimizer.beta",
    "train temperature=0.7": "rollout.temperature",
    "train num_generations=8": "rollout.group_size",
    "train max_completion_length=512": "rollout.max_response_tokens",
    "train max_prompt_length=512": "data.max_prompt_tokens",
    "train loss_type=dapo": "optimizer.loss",
    "train lora_r=16": "lora.rank",
    "train run_name=x": "write name=VALUE",
    "train gpus=2": "engine.processes",
    "train warmup_steps=10": "optimizer.warmup_steps",
    "train max_step=5": "'max_steps'",
    "train rolout.group_size=4": "'rollout'",
    "train rollout.groupsize=4": "'rollout.group_size'",
    # settings that are not written KEY=VALUE
    "train --max_steps 5": "max_steps=5",
    "train --max-steps=5": "max_steps=5",
    "train --lr 1e-5": "optimizer.learning_rate=1e-5",
    "train max_steps 5": "max_steps=5",
    "train max_steps = 5": "max_steps=5",
    "train recipe.yaml max_steps 5": "max_steps=5",
    "train recipe.yaml other.yaml": "one recipe",
    "train recipe.yaml nonsense": "KEY=VALUE",
    # values that do not fit
    "train data=rows.jsonl": "data.path=rows.jsonl",
    "train reward=exact": "reward.correctness=exact",
    "train weighting=rest": "weighting.scheme=rest",
    "train lora=16": "lora.rank=16",
    "train policy.path=x": "policy=VALUE",
    "train reward.correctness=exct": "'exact'",
    "train report_to=wandbb": "'wandb'",
    "train report_to=wandb": "toolrest[wandb]",
    "train method=sfft": "'sft'",
    "train max_steps=five": "integer",
    "train name=a/b": "no folder in it",
    "train 'data.sources=[{from: rows.jsonl}]'": "known: drawn_by, format, mask, path",
    "train 'data.sources=[{take: 5}]'": "path",
    "train 'data.sources=[{path: rows.jsonl, format: mesages}]'": "'messages'",
    "train dialect=rlle": "'rlla'",
    "train optimizer.loss=grop": "'grpo'",
    "train reward.schedule=rset": "'rest'",
    # files and folders
    "train nowhere.yaml": "no such recipe",
    "train smollm2-rla": "did you mean smollm2-rlla?",
    "smollm2-rlla": "toolrest train smollm2-rlla",
    "recipes smolm2-rlla": "did you mean smollm2-rlla?",
    "train folder": "name a recipe",
    "train runs/done": "--resume runs/done",
    "train rows.jsonl": "data.path=rows.jsonl",
    "train data.path=nowhere.jsonl": "rows.jsonl",
    "train data.path=folder": "name a file",
    "train policy=runs/nope": "runs has: done",
    "train policy=./nope": "no such folder",
    "train policy=runs/done": "policy=",
    "train policy=runs/done/checkpoints": "checkpoint-2",
    "train policy=folder": "config.json",
    "train policy=rows.jsonl": "a file",
    "train reward.function=reward.py:brief": "'brevity'",
    "train reward.function=reward.py": "FILE.py:NAME",
    "train env=world": "environment.source",
    "train max_tool_calling_iterations=4": "environment.max_turns",
    "train environment=world": "environment.source=world",
    "train environment.source=bank.py:Banc": "'Bank'",
    "train environment.source=bank.py": "its class is bank.py:Bank",
    "train environment.source=wrld": "world or bfcl",
    "train environment.source=world reward.correctness=exact": "reward.correctness",
    "train environment.max_turns=3": "give environment.source",
    "train advantage.credit=turns": "give environment.source",
    "train rollout.sampler=vllm": "toolrest[vllm]",
    "train --resume runs/nope": "no run is there",
    "train --resume runs/done/checkpoints/checkpoint-2": "--resume runs/done",
    "train --resume runs/done": "is done",
    "train --resume auto seed=9": "may be changed",
    "train recipe.yaml --resume auto": "give no other",
    # a new recipe
    "new": "--policy is due",
    "new --policy runs/nope --data rows.jsonl --out new.yaml": "runs has: done",
    "new --policy runs/done --data rows.jsonl --out new.yaml": "policy=",
    "new --policy embedded --data nowhere.jsonl --out new.yaml": "rows.jsonl",
    "new --policy embedded --out recipe.yaml": "name another file",
    # commands and options
    "trian": "did you mean train?",
    "recipe.yaml": "toolrest train recipe.yaml",
    "max_steps=5": "toolrest train max_steps=5",
    "train --dry-rum": "--dry-run",
    "data chek rows.jsonl": "did you mean check?",
    "data prepare rows.jsonl": "--output",
    "data check nowhere.jsonl": "no such file",
    "data check folder": "name a file",
    "data show rows.jsonl --row x": "--row",
    "score": "toolrest score --help",
    "score nowhere.jsonl": "no such file",
    "score runs/done": "evaluation/after.jsonl",
    "score rows.jsonl --reward exct": "'exact'",
}
HEAVY = {
    "train weighting.scheme=rset": "'rest'",
    "train weighting.options.curicculum=false": "curriculum",
    "compare lr=1": "optimizer.learning_rate",
    "compare --seeds x": "--seeds",
    "compare --methods grop": "'grpo'",
    "compare evaluation.samples=0": "256",
    "evaluate": "name a policy",
    "evaluate runs/nope": "runs has: done",
    "evaluate embedded --on bfl": "bfcl",
    "evaluate runs/done --checkpoint 7": "last, best or one of 2",
    "doctor --gpu h1000": "h100",
    "inspect": "name a run",
    "inspect runs/nope": "neither a run",
    "inspect runs/done/checkpoints/checkpoint-2": "a checkpoint; name its run, runs/done",
    "report runs/nope": "no run is there",
    "report runs/done/checkpoints/checkpoint-2": "a checkpoint; name its run, runs/done",
    "variance --run runs/nope": "no run is there",
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("toolrest.recipe.extras.find_spec", lambda name: None)
    make(tmp_path)


def make(place):
    """A finished run, rows, a recipe, a reward file and an empty folder."""
    checkpoint = place / "runs/done/checkpoints/checkpoint-2"
    checkpoint.mkdir(parents=True)
    (place / "folder").mkdir()
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "toolrest_state.json").write_text("{}")
    (place / "runs/done/recipe.yaml").write_text("max_steps: 2\n")
    (place / "runs/done/summary.json").write_text("{}")
    (place / "recipe.yaml").write_text("max_steps: 2\n")
    (place / "other.yaml").write_text("max_steps: 2\n")
    (place / "bank.py").write_text("class Bank:\n    def reset(self, row, seed): ...\n")
    (place / "reward.py").write_text("def brevity(completions, **rest):\n    return [0.0]\n")
    (place / "rows.jsonl").write_text(json.dumps({"response": "x", "ground_truth": "y"}) + "\n")


def test_there_are_sixty():
    assert len(LIGHT) + len(HEAVY) >= 60


@pytest.mark.parametrize("line", [*LIGHT, *HEAVY])
def test_a_mistake_is_one_line_with_its_mend(line):
    before = sorted(Path().rglob("*"))
    found = CliRunner().invoke(app, shlex.split(line))
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    assert found.stderr.startswith("toolrest: ") and found.stderr.count("\n") == 1, found.stderr
    assert (LIGHT | HEAVY)[line] in found.stderr
    assert "Traceback" not in found.stderr and "^[" not in found.stderr
    assert sorted(Path().rglob("*")) == before


def test_torch_is_not_imported_before_the_answer():
    code = (
        "import shlex, sys\n"
        "from typer.testing import CliRunner\n"
        "from toolrest.cli.main import app\n"
        "from toolrest.recipe import extras\n"
        "extras.find_spec = lambda name: None\n"
        f"for line in {list(LIGHT)!r}:\n"
        "    assert CliRunner().invoke(app, shlex.split(line)).exit_code == 2, line\n"
        "    heavy = {'torch', 'transformers'} & set(sys.modules)\n"
        "    assert not heavy, (line, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""Every command and snippet that README and docs print is run as it is printed, in a folder with
the files that they name; small policies of random weights in the hub's cache stand for the hub's.
What takes hours gets words that make it short; what needs another machine is listed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from datasets import Dataset
from forking import Forking
from installed import V3
from printed import PAGES, ROOT, blocks, commands, parsed, table_commands, words
from small_runs import questions, rows, stopped_after_a_step, toolrest
from tiny_policies import write_policy

from toolrest.recipe import load_recipe

README = ROOT / "README.md"
ELSEWHERE = {
    r"(python\S* -m )?pip install|\.venv-verl/bin/pip": "changes an environment",
    r"python3.11 -m venv|python -m (build|twine)|make |scripts/": "CI runs it, or is it",
    r"python (scripts|benchmarks|tests)/|\.venv/bin/|TOOLREST_FUZZ=": "hours, or tests of its own",
    r"git clone|ray start|RAY_ADDRESS=|accelerate launch": "other machines",
    r".*--backend openai": "tests/evaluate/test_openai_backend.py has a server",
    r".*--push": "tests/export/test_export.py has a hub",
    r"toolrest train (--resume runs/<name>|recipes/verl-qwen3-1.7b.yaml)$": "verl",
    r"toolrest train \S+ engine.processes=8": "GPUs",
    r".*data.path=ToolRL/": "rows that lie elsewhere",
    r".*--out (evidence|trials|apart)": "hours",
    r".*--against apart|.* policy=real-methods/": "hours, what is made before it",
    r"--methods": "a part of a command",
}
"""What is not run here, by how its line begins: why."""
REFUSED = {
    "rollout.sampler=vllm": "vllm",
    "prepare recipes/mixture.yaml": "Team-ACE/ToolACE",
    "prepare mixture": "Team-ACE/ToolACE",
    "toolrest new$": "--policy is due",
}
"""What is refused without a GPU, the network or a terminal, in one line that says this."""
BY_MEMORY = "engine.processes=2"
"""A line with this is refused where the machine's memory is too small for two of that size."""
SMALL = (
    *("max_steps=2", "rollout.prompts_per_step=2", "rollout.group_size=2", "save_steps=2"),
    *("rollout.max_response_tokens=24", "evaluation.samples=2"),
)
ONE_STEP = (*SMALL, "max_steps=1", "save_steps=1", "rollout.max_response_tokens=16")
SHORTER = {
    "toolrest train --resume runs": ("max_steps=3",),
    "toolrest train --resume auto": (),
    r"toolrest train .*benchmarks=bfcl": (
        *SMALL,
        *("evaluation.benchmark_items=1", "evaluation.bfcl_categories=simple_python"),
    ),
    r"toolrest train .*warm_start": (*SMALL, "warm_start.steps=1", "warm_start.batch_size=2"),
    r"toolrest train(?!.*--dry-run)": SMALL,
    "toolrest compare .*--stability": (
        *(*ONE_STEP, "evaluation.every=1", "--methods", "grpo", "--seeds", "1"),
        *("--rates", "1e-4,2e-4"),
    ),
    "toolrest compare mine.yaml": (*ONE_STEP, "--seeds", "2"),
    "toolrest compare": (*ONE_STEP, "--seeds", "1"),
    "toolrest gain": (
        *("--prompts", "8", "--group", "2", "--batch", "2", "--methods", "rest"),
        *("rollout.max_response_tokens=8", "lora.rank=1", "lora.target_modules=q_proj"),
    ),
    "toolrest variance": ("--prompts", "4", "--group", "2", "rollout.max_response_tokens=8"),
    r"(\S+ )?toolrest evaluate (?!.*--categories).*--on bfcl": (
        *("--limit", "1", "--max-tokens", "4", "--categories", "non_live"),
    ),
    "toolrest evaluate .*--on": ("--limit", "1", "--max-tokens", "4"),
    "toolrest evaluate embedded": ("--limit", "2"),
    "toolrest evaluate runs/agent": ("--samples", "2", "--trials", "2"),
    "toolrest doctor(?!.*--no-self-test)": ("--no-self-test",),
}
"""What is added to a line that begins so, the first that fits: the same work on less."""
TEXT = '<think> I look. </think>\n<tool_call>\n{"name": "a", "parameters": {"b": 1}}\n</tool_call>'


def printed(page):
    """The shell commands of a page's blocks; of the README those within its table too."""
    found = [
        line
        for block in blocks(page)
        if not block.language
        for line in commands(block)
        if is_shell(line)
    ]
    if page == README:
        found += [line for line in table_commands(page) if line not in found]
    return found


def is_shell(line):
    start = (
        r"([A-Z_]+=\S+ )*(toolrest|make|python|pip|git|ray|accelerate|scripts/|\.venv|--methods)"
    )
    return re.match(start, line)


def why_elsewhere(line):
    return next((why for start, why in ELSEWHERE.items() if re.match(start, line)), None)


LINES = [(page, line) for page in PAGES for line in printed(page)]


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda each: getattr(each, "name", each))
def test_every_command_that_is_printed_parses(page, line):
    _, given = words(line)
    if given[0] == "toolrest" and not why_elsewhere(line):
        parsed([re.sub(r"<name>", "name", word) for word in given[1:]])


def test_what_is_not_run_is_printed_somewhere():
    for start in ELSEWHERE:
        assert any(re.match(start, line) for _, line in LINES), start
    for part in REFUSED:
        assert any(re.search(part, line) for _, line in LINES), part


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_that_are_printed_load(page, tmp_path):
    for number, block in enumerate(blocks(page)):
        if block.language == "yaml":
            path = tmp_path / f"{number}.yaml"
            path.write_text(block.text)
            assert load_recipe(path, [])


@pytest.fixture(scope="module")
def workshop(made_once):
    """A folder with what the pages name: runs, rows, tools, benchmarks."""

    def make(folder):
        (folder / "hub").mkdir()
        in_the_hub(folder / "hub", "Qwen/Qwen3-0.6B")
        if V3.is_dir():
            (folder / "bfcl-v3").symlink_to(V3)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            fill(folder)

    return made_once("workshop", make, copied=False)


def in_the_hub(cache, name):
    """A small policy of random weights in the hub's place, where its cache keeps that name."""
    home = cache / f"models--{name.replace('/', '--')}"
    policy = write_policy(home / "snapshots" / "0", "qwen3", torch.float32)
    said = json.loads((policy / "config.json").read_text())
    (policy / "config.json").write_text(json.dumps(said | {"max_position_embeddings": 40960}))
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0")


def fill(folder):
    (row,) = [block.text for block in blocks(README) if block.language == "json"]
    (folder / "my.jsonl").write_text(
        "".join(row.replace("Ghent", f"City {number}") + "\n" for number in range(16))
    )
    rows(folder / "train.jsonl", 64)
    rows(folder / "test.jsonl", 2)
    rows(folder / "own.jsonl", 4)
    rows(folder / "rows.jsonl")
    table = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for name in ("train.parquet", "rows.parquet"):
        Dataset.from_list(table).to_parquet(str(folder / name))
    answer = {
        "prompt": [{"role": "user", "content": "Ghent?"}],
        "ground_truth": '<tool_call>\n{"name": "a", "arguments": {"b": 1}}\n</tool_call>',
    }
    (folder / "prompts.jsonl").write_text(json.dumps(answer) + "\n")
    reply = {"response": TEXT, "ground_truth": TEXT}
    (folder / "rollouts.jsonl").write_text(json.dumps(reply) + "\n")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    (folder / "recipe.yaml").write_text("seed: 1\n")
    (folder / "tools.py").write_text(
        'def forecast(city: str) -> str:\n    """The weather.\n\n    Args:\n        city: Where.\n'
        '    """\n    return "rain"\n'
    )
    agents = blocks(ROOT / "docs" / "agents.md")
    for language, name in (("python", "door.py"), ("yaml", "door.yaml")):
        text = next(each.text for each in agents if each.language == language)
        (folder / name).write_text(text + "\n")
    rewards = blocks(ROOT / "docs" / "own_reward.md")
    (folder / "brevity.py").write_text(rewards[0].text + "\n")
    tool = {"name": "forecast", "description": "The weather.", "parameters": {"type": "object"}}
    (folder / "tools.json").write_text(json.dumps([tool]))
    questions(folder / "apibank")
    for name, steps in (("a", 10), ("b", 2), ("mine", 2)):
        toolrest("train", *SMALL, f"max_steps={steps}", f"name={name}", "evaluation.every=2")
    toolrest("train", *SMALL, "environment.source=world", "name=agent")
    toolrest("train", *SMALL, "save_steps=1", "name=stopped")
    stopped_after_a_step(folder / "runs" / "stopped")
    toolrest("export", "runs/mine", "--to", "my-policy")
    for name in ("a/bfcl-1", "b/bfcl-2", "a", "b"):
        toolrest("evaluate", "embedded", "--limit", "2", "--out", f"evaluations/{name}")


def hub_of(workshop):
    """Variables that name its hub, which is read as modules are imported."""
    return {"HF_HUB_CACHE": str(workshop / "hub"), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def forking(workshop):
    with Forking(**hub_of(workshop)) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any("toolrest" in line for line in printed(page))],
    ids=lambda page: page.name,
)
def test_commands_run_as_they_are_printed(page, workshop, forking, tmp_path):
    """`toolrest` in forked processes; what is run with variables of its own in a fresh one."""
    folder = tmp_path / "work"
    shutil.copytree(workshop, folder, symlinks=True)
    if page == README:
        shutil.rmtree(folder / "runs" / "mine")
    if any("export" in line for line in printed(page)):
        shutil.rmtree(folder / "my-policy")
    environment = hub_of(workshop) | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    for line in printed(page):
        if why_elsewhere(line):
            continue
        variables, given = words(line)
        beside = variables.get("PYTHONPATH")
        asks_bfcl = any(re.fullmatch(r"(.*=)?bfcl(,.*)?", word) for word in given)
        if asks_bfcl and not ((folder / beside).is_dir() if beside else find_spec("bfcl_eval")):
            continue
        more = next((added for start, added in SHORTER.items() if re.match(start, line)), ())
        if given[0] == "toolrest" and not variables:
            done = forking.run(*given[1:], *more, cwd=folder, env=environment)
        else:
            done = subprocess.run(
                [sys.executable, "-m", *given, *more],
                cwd=folder,
                env=os.environ | environment | variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
            )
        refused = [said for part, said in REFUSED.items() if re.search(part, line)]
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr[-3000:]}"
        if BY_MEMORY in line and done.returncode == 2:
            assert "memory: the run needs" in done.stderr
            continue
        assert done.returncode == (2 if refused else 0), f"{line}\n{done.stdout}{done.stderr}"
        assert all(said in done.stderr for said in refused), f"{line}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_snippets_run_as_they_are_printed(number, workshop, forking, tmp_path):
    """By themselves: nothing is defined before them."""
    shutil.copy(workshop / "prompts.jsonl", tmp_path)
    code = [block.text for block in blocks(README) if block.language == "python"][number]
    (tmp_path / "snippet.py").write_text(code)
    done = forking.run_file(
        tmp_path / "snippet.py", cwd=tmp_path, env=hub_of(workshop) | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]

"""A file never says that code may run: the command does, by its flag."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from canaries import leave_code, watched

EVALUATE = ("--on", "world", "--limit", "1", "--max-tokens", "2", "--quiet")
OWN = {
    "auto_map": {
        "AutoConfig": "evil.C",
        "AutoModelForCausalLM": "evil.M",
        "AutoTokenizer": ["evil.T", "evil.T"],
    },
    "model_type": "evil",
}


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "here" / "ran"


@pytest.fixture
def hostile(run, refit, mark):
    """A run whose recipe trusts everything, and whose policy comes with code."""
    checkpoint = run / "checkpoints" / "checkpoint-1"
    leave_code(checkpoint, mark)
    leave_code(run, mark)
    for name in ("config.json", "tokenizer_config.json"):
        found = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps(found | OWN))
    refit(checkpoint)
    shutil.copytree(checkpoint, run / "policy")
    write(run, trust_remote_code=True)
    return run


def write(run, **changed):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    for key, value in changed.items():
        if isinstance(value, dict):
            recipe[key] = {**recipe[key], **value}
        else:
            recipe[key] = value
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))


COMMANDS = {
    "inspect": ("inspect", "RUN"),
    "evaluate RUN": ("evaluate", "RUN", *EVALUATE),
    "evaluate checkpoint": ("evaluate", "RUN/checkpoints/checkpoint-1", *EVALUATE),
    "report": ("report", "RUN"),
    "variance": ("variance", "--run", "RUN", "--prompts", "4"),
    "resume": ("train", "--resume", "RUN", "--quiet"),
    "dry run": ("train", "--resume", "RUN", "--dry-run"),
}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_trust_in_a_run_s_recipe_counts_for_nothing(name, hostile, mark, says_one_line, outside):
    """`trust_remote_code: true` beside the checkpoints ran their code without any flag."""
    write(hostile, policy=str(hostile / "policy"))
    words = [word.replace("RUN", str(hostile)) for word in COMMANDS[name]]
    with watched(outside):
        found = says_one_line(*words)
    assert not mark.exists()
    if name == "resume":
        assert "trust_remote_code=True" in found.stderr and "--trust-remote-code" in found.stderr


@pytest.mark.parametrize("name", ["inspect", "evaluate RUN", "evaluate checkpoint", "variance"])
def test_the_flag_of_the_command_is_trust(name, hostile, mark, says_one_line):
    """The canary sings where it is asked to: these commands do load the policy with that code."""
    write(hostile, trust_remote_code=False, policy=str(hostile / "policy"))
    words = [word.replace("RUN", str(hostile)) for word in COMMANDS[name]]
    says_one_line(*words, "--trust-remote-code", codes=(2,))  # the classes of the code are none
    assert mark.exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trust_remote_code": True}, "trust_remote_code=True"),
        ({"reward": {"function": "RUN/evil.py:reward"}}, "reward.function="),
        (
            {"environment": {"source": "RUN/evil.py:Bank"}, "data": {"prompt": None}},
            "environment.source=",
        ),
        ({"engine": {"sharding": "RUN/evil.yaml"}}, "engine.sharding="),
        ({"engine": {"name": "verl", "options": {"a.b": 1}}}, "engine.options="),
    ],
)
def test_going_on_asks_for_the_flag_where_the_recipe_names_code(
    changed, said, run, mark, says_one_line
):
    """A reward function of a run's folder, verl's options, a file of accelerate."""
    leave_code(run, mark)
    text = json.dumps(changed).replace("RUN", str(run))
    write(run, **json.loads(text))
    found = says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
    assert said in found.stderr and "--trust-remote-code" in found.stderr
    assert not mark.exists()


def test_going_on_with_the_flag_runs_what_the_recipe_names(run, mark, says_one_line):
    leave_code(run, mark)
    function = run / "evil.py"
    code = "def reward(prompts, **k):\n    return [0.0 for _ in prompts]\n"
    function.write_text(f"import os\nos.mkdir({str(mark)!r})\n{code}")
    write(run, reward={"function": f"{function}:reward"})
    words = ("train", "--resume", str(run), "--quiet", "--trust-remote-code")
    words += ("--accept-changed-data",)
    says_one_line(*words, codes=(0,))
    assert mark.exists()


@pytest.mark.parametrize("how", ["recipe", "key", "flag"])
def test_a_recipe_that_the_user_names_may_say_it(how, hostile, mark, says_one_line, tmp_path):
    """The recipe of the command is the user's, and so is a key on the command line."""
    named = tmp_path / "here" / "recipe.yaml"
    policy = hostile / "policy"
    named.write_text(yaml.safe_dump({"policy": str(policy), "trust_remote_code": True}))
    words = (f"policy={policy}", "name=b", "--quiet")
    says_one_line("train", *words, codes=(2,))
    assert not mark.exists()
    trusting = {"key": (*words, "trust_remote_code=true"), "flag": (*words, "--trust-remote-code")}
    says_one_line("train", *{**trusting, "recipe": (str(named), *words[1:])}[how], codes=(2,))
    assert mark.exists()


def test_a_comparison_s_folder_adds_no_method_that_runs_code(run, mark, says_one_line):
    """`compare` takes methods that its folder has besides those of the command."""
    leave_code(run, mark)
    folder = run.parent / "compared"
    folder.mkdir()
    small = ["max_steps=1", "save_steps=1", "rollout.prompts_per_step=2", "rollout.group_size=2"]
    small += ["rollout.max_response_tokens=8", "evaluation.samples=2"]
    from toolrest.recipe import load_recipe

    plan = {
        "methods": {
            "grpo": ["weighting.scheme=uniform"],
            "x": [f"reward.function={run}/evil.py:reward"],
        },
        **{"seeds": [0], "baseline": "grpo", "threads": 1},
        "recipe": load_recipe(None, small).model_dump(mode="json") | {"name": None, "seed": 0},
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(plan))
    words = ("compare", *small, "--methods", "grpo", "--seeds", "1", "--out", str(folder))
    found = says_one_line(*words, codes=(2,))
    assert "reward.function" in found.stderr and not mark.exists()


@pytest.mark.parametrize("name", ["inspect", "variance"])
def test_nothing_is_fetched_on_the_word_of_a_run(name, run, says_one_line, outside):
    """A policy's hub name in a run's recipe is looked for in the cache alone."""
    shutil.rmtree(run / "checkpoints")
    write(run, policy="attacker/repo")
    words = [word.replace("RUN", str(run)) for word in COMMANDS[name]]
    with watched(outside):
        found = says_one_line(*words, codes=(2,))
    assert "hf download" in found.stderr


@pytest.mark.slow
def test_fifos_sockets_and_devices_are_not_waited_for(made_run, run, says_one_line, outside):
    """Every file of a run in turn is a FIFO: `report` and `--resume` waited for its writer."""
    names = [p.relative_to(run) for p in sorted(run.rglob("*")) if p.is_file()]
    for name in names:
        path, kept = run / name, made_run / name
        path.unlink()
        os.mkfifo(path)
        with watched(outside, 20):
            says_one_line("report", str(run))
            says_one_line("inspect", str(run))
            says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))
            says_one_line("evaluate", str(run), *EVALUATE)
        path.unlink()
        shutil.copy(kept, path)
    assert len(names) > 15


@pytest.mark.parametrize("name", ["metrics.jsonl", "environment.json", "recipe.yaml"])
def test_files_that_seem_endless_are_not_read(name, run, says_one_line, outside):
    """A sparse file of 100 GB is no file to read whole."""
    path = run / name
    path.unlink()
    with path.open("wb") as file:
        file.truncate(100 << 30)
    with watched(outside, 20):
        says_one_line("report", str(run))
        says_one_line("inspect", str(run))
        if name != "environment.json":
            says_one_line("train", "--resume", str(run), "--quiet", codes=(2,))


def test_paths_of_the_command_line_are_regular_files(tmp_path, monkeypatch, says_one_line, outside):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    fifo = place / "x.yaml"
    os.mkfifo(fifo)
    rows = place / "x.jsonl"
    os.mkfifo(rows)
    with watched(outside, 20):
        says_one_line("train", str(fifo), "--dry-run", codes=(2,))
        says_one_line("train", f"data.path={rows}", "--quiet", codes=(2,))
        says_one_line("inspect", str(rows), codes=(2,))
        says_one_line("score", str(rows), codes=(2,))
        says_one_line("data", "check", str(rows))
    assert Path(fifo).exists()

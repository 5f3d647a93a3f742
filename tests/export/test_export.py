"""`toolrest export`: the run's policy, whole or not there, with a card that is true."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from small_runs import FEW, toolrest
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.dialects import get_dialect
from toolrest.data.prompts import render_prompt
from toolrest.evaluate.target import find_target
from toolrest.export.find import find_policy
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.rollout.generate import generate_batch
from toolrest.world.tasks import Split, make_samples

PLAIN = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
replies = []
for messages in json.load(sys.stdin):
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**prompt, max_new_tokens=48, do_sample=False)
    replies.append(output[0, prompt["input_ids"].shape[1] :].tolist())
assert "toolrest" not in sys.modules
print(json.dumps(replies))
"""
LORA = ("lora.rank=2", "lora.alpha=2", "optimizer.learning_rate=0.05")


@pytest.fixture(scope="session")
def runs(made_once):
    """Runs that are done: all parameters, adapters, supervised alone."""
    more = ("rollout.max_response_tokens=96", "rollout.group_size=8")
    settings = ("max_steps=2", *FEW, *more, "--quiet")
    warm = ("warm_start.method=rsft", "warm_start.steps=1", "warm_start.batch_size=2")

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            rate = "optimizer.learning_rate=0.003"
            toolrest("train", "name=whole", rate, "evaluation.every=1", *settings)
            toolrest("train", "name=adapters", *LORA, *settings)
            rate = "warm_start.learning_rate=0.1"
            toolrest("train", "name=warm", *warm, rate, *LORA, *settings)

    return made_once("exported", make) / "runs"


def refused(*arguments):
    done = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    return done.stderr


def by_transformers(folder, samples, home):
    """The replies of transformers alone, in a process in which there is no toolrest."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, str(folder)],
        input=json.dumps([list(sample.prompt) for sample in samples]),
        capture_output=True,
        text=True,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_the_run(run, samples, **which):
    taken = find_policy(str(run), which.get("checkpoint"), warm_start=which.get("warm", False))
    recipe = taken.recipe.model_copy(update={"policy": str(taken.folder)})
    tokenizer = load_tokenizer(recipe)
    model = load_policy(recipe).eval()
    stops = read_speech(tokenizer, get_dialect("rlla"), model.generation_config).stop_ids
    return [
        generate_batch(model, tokenizer, [render_prompt(each, tokenizer)], 48, None, stops)[0]
        for each in samples
    ]


@pytest.mark.parametrize(
    ("name", "options", "which"),
    [
        pytest.param("whole", (), {}, marks=pytest.mark.slow),
        pytest.param("whole", ("--checkpoint", "1"), {"checkpoint": 1}, marks=pytest.mark.slow),
        pytest.param("adapters", (), {}, marks=pytest.mark.slow),
        pytest.param("adapters", ("--merged",), {}, marks=pytest.mark.slow),
        pytest.param("adapters", ("--adapter",), {}, marks=pytest.mark.slow),
        pytest.param("warm", ("--warm-start",), {"warm": True}, marks=pytest.mark.slow),
    ],
)
def test_transformers_alone_gives_the_tokens_of_the_run(runs, tmp_path, name, options, which):
    if name != "whole":
        pytest.importorskip("peft")
    out = tmp_path / "out"
    toolrest("export", str(runs / name), "--to", str(out), *options)
    samples = make_samples(Split.HELDOUT, 4)
    expected = by_the_run(runs / name, samples, **which)
    assert by_transformers(out, samples, tmp_path) == expected
    names = {path.name for path in out.iterdir()}
    assert {"README.md", "chat_template.jinja", "generation_config.json"} <= names
    assert ("adapter_model.safetensors" in names) == ("--adapter" in options)
    assert ("model.safetensors" in names) == ("--adapter" not in options)
    assert not [each for each in names if each.endswith((".pt", ".bin", ".pth"))]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.slow
def test_the_policies_differ(runs):
    """Else the tests above would pass with adapters that nobody reads, or another checkpoint."""
    samples = make_samples(Split.HELDOUT, 4)
    replies = [
        by_the_run(runs / "whole", samples, checkpoint=1),
        by_the_run(runs / "whole", samples),
        by_the_run(runs / "adapters", samples),
        by_the_run(runs / "warm", samples, warm=True),
        by_the_run(runs / "warm", samples),
    ]
    same = [(a, b) for a, b in itertools.combinations(range(5), 2) if replies[a] == replies[b]]
    assert same == []


@pytest.mark.slow
def test_the_card_runs_as_printed(runs, tmp_path):
    out = tmp_path / "out"
    toolrest("export", str(runs / "whole"), "--to", str(out))
    card = (out / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)\n```$", card, re.S | re.M)
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "<think>" in done.stdout


@pytest.mark.slow
def test_the_card_is_true(runs, tmp_path):
    out = tmp_path / "out"
    toolrest("export", str(runs / "whole"), "--to", str(out))
    card = (out / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "apache-2.0" and "base_model" not in head
    assert "name = './out'  # this folder, wherever it is" in card
    assert head["library_name"] == "transformers"
    assert "None" not in card.split("## How to prompt it")[0]
    assert "time machine" not in card
    assert "ResT: Reshaping Token-Level Policy Gradients" in card and "2509.21826" in card
    data = json.loads((runs / "whole" / "data.json").read_text())["origins"]
    assert data["the rows"] in card
    assert data["policy embedded: model.safetensors"][:16] in card
    after = json.loads((runs / "whole" / "evaluation" / "after.json").read_text())
    assert f"{after['exact_match']:.1%} (" in card
    assert "2 held-out rows" in card
    (settings,) = re.findall(r"^```yaml\n(.*?)\n```$", card, re.S | re.M)
    recipe = yaml.safe_load((runs / "whole" / "recipe.yaml").read_text())
    recipe.pop("schema")
    assert yaml.safe_load(settings) == recipe
    assert str(runs) not in card and "/home" not in card


def test_a_checkpoint_on_the_way_has_the_results_of_its_step(runs, tmp_path):
    toolrest("export", str(runs / "whole"), "--to", str(tmp_path / "out"), "--checkpoint", "1")
    card = (tmp_path / "out" / "README.md").read_text()
    points = map(json.loads, (runs / "whole/evaluation/curve.jsonl").read_text().splitlines())
    (point,) = [each for each in points if each["step"] == 1]
    row = next(line for line in card.splitlines() if line.startswith("| reward, sampled"))
    assert row.endswith(f"| {point['reward']:.2f} |")
    assert "**Steps**: 1 of 2" in card


def test_a_checkpoint_that_nobody_evaluated_has_no_results(runs, tmp_path):
    toolrest("export", str(runs / "adapters"), "--to", str(tmp_path / "out"), "--checkpoint", "1")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "was not evaluated" in card and "| exact match" not in card


def test_checkpoints_of_training_have_the_card_and_stay_whole_when_it_is_changed(runs):
    from toolrest.runs.checkpoints import is_whole

    for name in ("whole", "adapters"):
        folder = runs / name / "checkpoints" / "checkpoint-2"
        card = (folder / "README.md").read_text()
        assert "# " + name + ", checkpoint 2" in card and "Model Card for" not in card
        assert "name = './checkpoint-2'  # this folder, wherever it is" in card
        assert is_whole(folder)
    changed = (folder / "README.md").read_text()
    (folder / "README.md").write_text("mine")
    assert is_whole(folder)
    (folder / "README.md").write_text(changed)


def test_a_bad_place_is_refused_before_anything_is_made(runs, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link"):
        assert "name another" in refused(runs / "whole", "--to", tmp_path / name)
    assert "no folder" in refused(runs / "whole", "--to", tmp_path / "file" / "below")
    assert sorted(os.listdir(tmp_path)) == ["file", "full", "link"]
    assert os.listdir(tmp_path / "full") == ["mine"]
    (tmp_path / "empty").mkdir()
    toolrest("export", str(runs / "whole"), "--to", str(tmp_path / "empty"))
    assert (tmp_path / "empty" / "config.json").is_file()


def test_the_folder_that_the_shell_is_in_is_not_replaced(runs, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", "../here", tmp_path / "here", "../here/../here"):
        assert "name one in it (--to NAME)" in refused(runs / "whole", "--to", name)
    assert "it is there" in refused(runs / "whole", "--to", "..")
    assert os.listdir(tmp_path / "here") == [] and os.path.samefile(".", tmp_path / "here")


@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100_000])
def test_a_broken_data_json_is_told_before_anything_is_loaded(runs, tmp_path, monkeypatch, text):
    import toolrest.export.write as writing

    run = tmp_path / "run"
    shutil.copytree(runs / "whole", run)
    (run / "data.json").write_text(text)
    monkeypatch.setattr(writing, "load_tokenizer", None)
    assert "data.json: cannot be read" in refused(run, "--to", tmp_path / "out")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("text", [None, '{"train": "x", "origins": [1], "heldout": {}}'])
def test_a_data_json_that_tells_nothing_leaves_the_card_without_rows(runs, tmp_path, text):
    run = tmp_path / "run"
    shutil.copytree(runs / "whole", run)
    (run / "data.json").unlink()
    if text is not None:
        (run / "data.json").write_text(text)
    (run / "environment.json").write_text('{"versions": [3]}')
    toolrest("export", str(run), "--to", str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "rows to train on" not in card and "Versions: not recorded." in card


@pytest.mark.parametrize("where", ["save_pretrained", "write_whole"])
def test_a_folder_is_whole_or_not_there(runs, tmp_path, monkeypatch, where):
    import toolrest.export.write as writing

    def fails(*anything, **more):
        raise OSError(28, "No space left on device")

    if where == "write_whole":
        monkeypatch.setattr(writing, "write_whole", fails)
    else:
        from transformers import PreTrainedTokenizerBase

        monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", fails)
    assert "room" in refused(runs / "whole", "--to", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_run_that_is_not_done_says_how_to_export_a_checkpoint(runs, tmp_path):
    run = tmp_path / "stopped"
    shutil.copytree(runs / "whole", run)
    (run / "summary.json").unlink()
    said = refused(run, "--to", tmp_path / "out")
    assert "--checkpoint 2" in said and "--resume" in said
    toolrest("export", str(run), "--to", str(tmp_path / "out"), "--checkpoint", "2")
    (run / "checkpoints" / "checkpoint-2" / "model.safetensors").write_bytes(b"half")
    assert "--checkpoint 1," in refused(run, "--to", tmp_path / "more")
    assert "it has 1" in refused(run, "--to", tmp_path / "more", "--checkpoint", "2")
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in refused(run, "--to", tmp_path / "more")


def test_a_done_run_whose_last_checkpoint_is_broken_is_not_exported_by_one_before(runs, tmp_path):
    run = tmp_path / "done"
    shutil.copytree(runs / "whole", run)
    (run / "checkpoints" / "checkpoint-2" / "model.safetensors").write_bytes(b"half")
    assert "it has 1" in refused(run, "--to", tmp_path / "out")
    (run / "summary.json").write_text("{")
    assert "summary.json: cannot be read" in refused(run, "--to", tmp_path / "out")
    toolrest("export", str(run), "--to", str(tmp_path / "first"), "--checkpoint", "1")
    shutil.rmtree(tmp_path / "first")
    assert os.listdir(tmp_path) == ["done"]


def test_a_checkpoint_in_the_place_of_a_run_names_the_run(runs, tmp_path):
    said = refused(runs / "whole" / "checkpoints" / "checkpoint-2", "--to", tmp_path / "out")
    assert f"a checkpoint; name its run, {runs / 'whole'}" in said


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("whole", ("--checkpoint", "7"), "it has 1, 2"),
        ("whole", ("--warm-start",), "no policy after a warm start"),
        ("whole", ("--adapter",), "a whole policy"),
        ("warm", ("--adapter",), "lies in the run"),
        ("warm", ("--warm-start", "--checkpoint", "1"), "two policies"),
        ("adapters", ("--adapter", "--dtype", "bfloat16"), "adapters are copied"),
        ("adapters", ("--private",), "goes with --push"),
        ("nothing", (), "no run is there"),
    ],
)
def test_what_cannot_be_exported_is_one_line(runs, tmp_path, name, options, words):
    assert words in refused(runs / name, "--to", tmp_path / "out", *options)
    assert os.listdir(tmp_path) == []


def test_bfloat16(runs, tmp_path):
    from safetensors.torch import load_file

    toolrest("export", str(runs / "whole"), "--to", str(tmp_path / "out"), "--dtype", "bfloat16")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(value.dtype) for value in found.values()} == {"torch.bfloat16"}


def test_a_policy_of_verl_is_found(runs, tmp_path):
    """verl keeps what transformers loads in a folder below."""
    run = tmp_path / "verl"
    shutil.copytree(runs / "whole", run)
    below = run / "checkpoints" / "global_step_2" / "actor"
    below.mkdir(parents=True)
    (run / "checkpoints" / "checkpoint-2").rename(below / "huggingface")
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("2")
    half = run / "checkpoints" / "global_step_3" / "actor"  # verl was killed while it wrote it
    shutil.copytree(below, half)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["engine"]["name"] = "verl"
    recipe["rollout"]["sampler"] = "vllm"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    toolrest("export", str(run), "--to", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert find_policy(str(run), None, warm_start=False).folder == below / "huggingface"
    found = find_target(str(run))
    assert found.recipe.policy == str(below / "huggingface")
    assert found.label == "verl-checkpoint-2"
    alone = find_target(str(below / "huggingface"))
    assert alone.run is not None and alone.run.path == run
    assert alone.recipe.dialect == found.recipe.dialect


class Hub:
    """In the hub's place: knows the user or not, takes what it is given or not."""

    def __init__(self):
        self.known, self.full, self.calls = True, False, []

    def __call__(self):
        return self

    def whoami(self):
        if not self.known:
            raise OSError("Invalid user token.")

    def create_repo(self, name, **more):
        self.calls.append(("create", name, more["private"]))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        if self.full:
            raise OSError("413 too large")
        self.calls.append(("upload", repo_id, sorted(os.listdir(folder_path))))
        return f"https://huggingface.co/{repo_id}"


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    made = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", made)
    return made


def test_push_uploads_the_folder_whose_card_names_the_repository(runs, tmp_path, hub):
    out = tmp_path / "out"
    said = toolrest(
        "export", str(runs / "whole"), "--to", str(out), "--push", "me/mine", "--private"
    )
    assert "https://huggingface.co/me/mine" in said
    assert hub.calls == [
        ("create", "me/mine", True),
        ("upload", "me/mine", sorted(os.listdir(out))),
    ]
    assert "name = 'me/mine'" in (out / "README.md").read_text()


def test_an_unknown_user_is_told_before_anything_is_written(runs, tmp_path, hub):
    hub.known = False
    assert "hf auth login" in refused(runs / "whole", "--to", tmp_path / "out", "--push", "me/mine")
    assert "no name of the hub" in refused(
        runs / "whole", "--to", tmp_path / "out", "--push", "a/b/c"
    )
    assert os.listdir(tmp_path) == [] and hub.calls == []


def test_an_upload_that_fails_leaves_the_folder_and_says_how_to_try_again(runs, tmp_path, hub):
    hub.full = True
    said = refused(runs / "whole", "--to", tmp_path / "out", "--push", "me/mine")
    assert "hf upload me/mine" in said and "413" in said
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_adapters_whose_base_nobody_else_has_are_not_pushed(runs, tmp_path, hub):
    said = refused(runs / "adapters", "--to", tmp_path / "out", "--adapter", "--push", "me/mine")
    assert "a folder of this machine" in said

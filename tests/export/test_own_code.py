"""A policy that comes with code of its own is exported with it, or without its name."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from small_runs import FEW, rows, toolrest
from tiny_policies import write_policy
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.export.find import find_policy
from toolrest.policy.own_code import leave_what_is_there
from toolrest.policy.weights import load_policy

CONFIG = """
from transformers import Qwen3Config
from .own_numbers import FACTOR

class OwnConfig(Qwen3Config):
    model_type = "MODEL_TYPE"

    def __init__(self, factor=FACTOR, **more):
        super().__init__(**more)
        self.factor = factor
"""
NUMBERS = "FACTOR = 2.0\n"
MODEL = """
from transformers import Qwen3ForCausalLM
from .own_config import OwnConfig

class OwnForCausalLM(Qwen3ForCausalLM):
    config_class = OwnConfig

    def forward(self, *positional, **named):
        output = super().forward(*positional, **named)
        output.logits = output.logits * self.config.factor
        return output
"""
TOKENIZER = """
from transformers import PreTrainedTokenizerFast

class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
MAP = {"AutoConfig": "own_config.OwnConfig", "AutoModelForCausalLM": "own_model.OwnForCausalLM"}
FILES = {"own_config.py", "own_numbers.py", "own_model.py"}
LOGITS = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
with torch.no_grad():
    print(json.dumps(model(torch.tensor([[5, 6, 7]])).logits[0, -1].tolist()))
"""


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def write_own(folder, model_type):
    """A policy of a class of its own, whose logits are twice those of transformers' class."""
    write_policy(folder, "qwen3")
    code = {"own_config": CONFIG.replace("MODEL_TYPE", model_type), "own_numbers": NUMBERS}
    for name, text in (code | {"own_model": MODEL, "own_tokenizer": TOKENIZER}).items():
        (folder / f"{name}.py").write_text(text)
    change(folder / "config.json", model_type=model_type, auto_map=MAP)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of policies with code: `model_type` known to transformers or not, trusted or not."""
    home = tmp_path_factory.mktemp("runs")
    data = f"data.path={rows(home / 'rows.jsonl')}"
    own, known = write_own(home / "own", "own"), write_own(home / "known", "qwen3")
    spoken = write_own(home / "spoken", "own")
    change(
        spoken / "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": [None, "own_tokenizer.OwnTokenizer"]},
    )
    few = ("max_steps=1", *FEW, "rollout.max_response_tokens=4", "dialect=hermes", data, "--quiet")
    before = os.getcwd()
    os.chdir(home)
    try:
        for name, policy, more in (
            ("own", own, ("--trust-remote-code",)),
            ("known", known, ("--trust-remote-code",)),
            ("spoken", spoken, ("--trust-remote-code",)),
            ("untrusted", known, ()),
            ("adapters", own, ("--trust-remote-code", "lora.rank=2")),
        ):
            toolrest("train", f"name={name}", f"policy={policy}", *few, *more)
    finally:
        os.chdir(before)
    return home / "runs"


def by_transformers(folder, home):
    """The logits of the policy in a process in which there is no toolrest."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOGITS, str(folder)], capture_output=True, text=True, cwd=home
    )
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout))


def by_the_run(run, *, trusted):
    taken = find_policy(str(run), None, warm_start=False, trusted=trusted)
    model = load_policy(taken.recipe.model_copy(update={"policy": str(taken.folder)})).eval()
    with torch.no_grad():
        return model(torch.tensor([[5, 6, 7]])).logits[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own", "known", "spoken", "adapters"])
def test_the_code_goes_with_the_policy(runs, tmp_path, name):
    if name == "adapters":
        pytest.importorskip("peft")
    toolrest("export", str(runs / name), "--to", str(tmp_path / "out"), "--trust-remote-code")
    there = {path.name for path in (tmp_path / "out").glob("*.py")}
    assert there == FILES | ({"own_tokenizer.py"} if name == "spoken" else set())
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    found = by_transformers(tmp_path / "elsewhere", tmp_path)
    assert torch.allclose(found, by_the_run(runs / name, trusted=True), atol=1e-5)
    card = (tmp_path / "elsewhere" / "README.md").read_text()
    assert "- custom_code" in card and "read that code" in card
    (code,) = re.findall(r"^```python\n(.*?)\n```$", card, re.S | re.M)
    assert code.count("trust_remote_code=True") == 2
    assert "name = './out'  # this folder, wherever it is" in code
    if name == "own":  # as it is printed, but for where the folder is now
        code = code.replace("./out", "./elsewhere")
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_adapters_alone_say_that_their_base_needs_code(runs, tmp_path):
    pytest.importorskip("peft")
    out = tmp_path / "out"
    toolrest("export", str(runs / "adapters"), "--to", str(out), "--adapter", "--trust-remote-code")
    assert "from_pretrained(name, trust_remote_code=True)" in (out / "README.md").read_text()


@pytest.mark.slow
def test_a_policy_of_transformers_own_class_names_no_code(runs, tmp_path):
    """The code beside its base never ran: nobody is sent for it."""
    toolrest("export", str(runs / "untrusted"), "--to", str(tmp_path / "out"))
    assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())
    found = by_transformers(tmp_path / "out", tmp_path)
    assert torch.allclose(found, by_the_run(runs / "untrusted", trusted=False), atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "trust_remote_code=True" not in card and "custom_code" not in card


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own", "known", "spoken", "adapters"])
@pytest.mark.parametrize("options", [(), ("--adapter",)])
def test_what_was_trained_by_its_code_is_not_exported_without_it(runs, tmp_path, name, options):
    """By transformers' own class, of the same `model_type`, it would be another policy."""
    if name == "adapters":
        pytest.importorskip("peft")
    words = ["export", str(runs / name), "--to", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert "give --trust-remote-code" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ({"AutoConfig": "a.A", "AutoModel": "b.B"}, {"AutoConfig": "a.A"}),
        ({"AutoConfig": "a.A"}, {"AutoConfig": "a.A"}),
        ({"AutoConfig": "b.A"}, None),
        ({"AutoConfig": "o/n--a.A"}, None),
        ({"AutoTokenizer": [None, "a.A"]}, {"AutoTokenizer": [None, "a.A"]}),
        ({"AutoTokenizer": ["b.A", "a.A"]}, None),
        ({"AutoTokenizer": [None, None]}, None),
        (["a.A", None], ["a.A", None]),
        (["b.A", None], None),
        ({"AutoConfig": 3}, None),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_only_code_that_is_there_is_named(tmp_path, named, kept, name):
    (tmp_path / "a.py").write_text("")
    (tmp_path / name).write_text(json.dumps({"x": 1, "auto_map": named}))
    leave_what_is_there(tmp_path)
    wanted = {"x": 1} if kept is None else {"x": 1, "auto_map": kept}
    assert json.loads((tmp_path / name).read_text()) == wanted

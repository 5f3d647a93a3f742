"""The arithmetic that a policy answers in is chosen, kept, compared, and refused for a server."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import toolrest
from toolrest.cli.main import app
from toolrest.evaluate.precision import chosen_dtype
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

POLICY = Path(toolrest.__file__).parent / "world" / "policy"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize(
    ("cuda", "has_it", "wanted", "chosen"),
    [
        (True, True, None, "bfloat16"),
        (True, False, None, "float32"),
        (False, True, None, "float32"),
        (True, True, "float32", "float32"),
        (False, False, "bfloat16", "bfloat16"),
    ],
)
def test_unsaid_it_is_bfloat16_where_a_gpu_computes_in_it(
    monkeypatch, cuda, has_it, wanted, chosen
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: has_it or including_emulation,
    )
    assert chosen_dtype(wanted) == chosen


def test_it_is_in_the_result_the_folder_s_name_and_the_comparison(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "toolrest.evaluate.backends.hf.load_policy",
        lambda recipe, **options: loaded.append(load_policy(recipe, **options)) or loaded[-1],
    )
    words = ("embedded", "--limit", 1, "--max-tokens", 4)
    for dtype in ("float32", "bfloat16"):
        assert f"by hf, {dtype}" in run(*words, "--dtype", dtype)
    kinds = [{weight.dtype for weight in model.parameters()} for model in loaded]
    assert kinds == [{torch.float32}, {torch.bfloat16}]
    folders = sorted(Path("evaluations/embedded").iterdir())
    kept = [json.loads((f / "result.json").read_text())["settings"] for f in folders]
    assert {(each["backend"], each["dtype"]) for each in kept} == {
        ("hf", "float32"),
        ("hf", "bfloat16"),
    }
    compared = run("--compare", *folders)
    assert "they also differ in  dtype: " in compared
    (other,) = (f for f, each in zip(folders, kept, strict=True) if each["dtype"] == "bfloat16")
    assert "other settings (dtype" in run(*words, "--out", other, code=2)


def test_adapters_are_merged_before_they_are_rounded(tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    base = load_policy(Recipe())
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02, generator=torch.Generator().manual_seed(1))
    adapted.peft_config["default"].base_model_name_or_path = str(POLICY)
    adapted.save_pretrained(tmp_path / "a")
    load_tokenizer(Recipe()).save_pretrained(tmp_path / "a")
    recipe = Recipe(policy=str(tmp_path / "a"))
    whole, rounded = load_policy(recipe), load_policy(recipe, dtype="bfloat16")
    for one, other in zip(whole.parameters(), rounded.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), other)


def test_a_server_computes_as_it_was_started_to():
    words = ("x", "--backend", "openai", "--base-url", "http://127.0.0.1:9/v1")
    assert "--dtype: with --backend openai" in run(*words, "--dtype", "float32", code=2)

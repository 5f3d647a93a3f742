"""Checkpoints as people have them can be loaded, trained, saved and gone on with."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import FEW, rows, stopped_after_a_step, toolrest
from tiny_policies import model_of, tokenizer_of, write_policy

from toolrest.errors import InputError
from toolrest.policy.folder import adapted_policy
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
ALL = ("data.path=rows.jsonl", "data.think=false", "max_steps=2", *FEW)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(folder):
    return load_policy(Recipe(policy=str(folder)))


def same(one, other, within=0.0):
    there, here = one.state_dict(), other.state_dict()
    assert there.keys() == here.keys()
    return all((there[name] - value).abs().max() <= within for name, value in here.items())


@pytest.mark.parametrize("kind", ["llama", "qwen3", "qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("saved", ["bfloat16", "sharded"])
def test_how_weights_were_saved_does_not_matter(kind, saved):
    """Tied heads (Qwen3's) have no tensor of their own, and the vocabulary is padded."""
    tokenizer = tokenizer_of(kind)
    model = model_of(kind, tokenizer)
    if saved == "bfloat16":
        model = model.to(torch.bfloat16)
    model.save_pretrained("policy", max_shard_size="20KB" if saved == "sharded" else "5GB")
    tokenizer.save_pretrained("policy")
    assert len(list(Path("policy").glob("*.safetensors"))) > 1 or saved == "bfloat16"
    found = load("policy")
    assert same(found, model.float()) and found.dtype == torch.float32
    assert found.config.vocab_size > len(tokenizer)
    found.save_pretrained("again")
    load_tokenizer(Recipe(policy="policy")).save_pretrained("again")
    assert same(load("again"), found)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (None, {"do_sample": None, "eos_token_id": 4}),
        ({"temperature": 0.6, "top_p": 0.9}, {"do_sample": True, "temperature": 0.6}),
        ({"do_sample": True, "top_k": 20}, {"do_sample": True, "top_k": 20}),
        ({"do_sample": False, "temperature": 0.6}, {"do_sample": None, "temperature": None}),
        ({"repetition_penalty": 1.1}, {"do_sample": None, "repetition_penalty": 1.1}),
        ({"eos_token_id": [4, 5], "top_p": 0.9}, {"do_sample": True, "eos_token_id": [4, 5]}),
        ({"num_beams": 4, "penalty_alpha": 0.6, "top_k": 4}, {"num_beams": None, "top_k": 4}),
    ],
)
def test_a_generation_config_of_any_kind_can_be_saved_with_the_checkpoint(written, kept):
    """transformers loads numbers of sampling without `do_sample`, and refused to save them: the
    first checkpoint of such a policy ended the run.
    """
    folder = write_policy(Path("policy"), "llama")
    path = folder / "generation_config.json"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": 4}))
    path.unlink()
    if written is not None:
        path.write_text(json.dumps(written))
    policy = load(folder)
    policy.save_pretrained("again")
    found = policy.generation_config
    assert {name: getattr(found, name) for name in kept} == kept


@pytest.mark.parametrize(
    ("also_without", "token"), [((), "<|eot_id|>"), (("eos_token",), "<|im_end|>")]
)
def test_a_tokenizer_without_a_padding_token_gets_one(also_without, token):
    folder = write_policy(Path("policy"), "llama")
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text())
    assert "pad_token" not in values
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in also_without}))
    tokenizer = load_tokenizer(Recipe(policy="policy"))
    assert tokenizer.pad_token == token
    assert tokenizer(["a", "b c d"], padding=True)["attention_mask"][0][0] == 0


def test_a_mistral_s_tokenizer_is_read_from_its_tokenizer_json():
    """Where mistral-common is installed, transformers takes `tekken.json` instead."""
    folder = write_policy(Path("policy"), "mistral")
    (folder / "tekken.json").write_text("{}")
    tokenizer = load_tokenizer(Recipe(policy="policy"))
    assert tokenizer.get_vocab() == tokenizer_of("mistral").get_vocab()
    tokenizer.save_pretrained("again")
    assert "fix_mistral_regex" not in Path("again/tokenizer_config.json").read_text()


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_a_mixture_that_was_saved_while_its_router_was_trained_samples(kind):
    """TRL's supervised trainer saves `output_router_logits`; sampling with a cache then failed."""
    folder = write_policy(Path("policy"), kind)
    path = folder / "config.json"
    ids = torch.tensor([[5, 6, 7], [0, 0, 8]])

    def sampled() -> list[list[int]]:
        model: Any = load(folder)
        limits = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
        return model.generate(ids, attention_mask=(ids > 0).long(), **limits).tolist()

    wanted = sampled()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"output_router_logits": True}))
    assert sampled() == wanted


def peft_adapters(folder, base="policy", rank=2):
    """Adapters alone, as peft writes them; and the policy that they make of their base."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=rank, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(load(Path(base).absolute()), config)
    model.save_pretrained(folder)
    assert not (Path(folder) / "tokenizer_config.json").exists()
    return model.merge_and_unload()


@needs_peft
def test_adapters_that_peft_wrote_alone_have_their_base_s_tokenizer():
    write_policy(Path("policy"), "qwen2")
    whole = peft_adapters("adapters")
    found = Recipe(policy="adapters")
    assert load_tokenizer(found).get_vocab() == load_tokenizer(Recipe(policy="policy")).get_vocab()
    assert same(load_policy(found), whole, 1e-6)


def test_adapters_name_a_whole_path_or_the_hub(tmp_path):
    write_policy(Path("policy"), "llama")
    assert adapted_policy(Recipe(policy="policy"), "policy") == str(tmp_path / "policy")
    assert adapted_policy(Recipe(policy="policy"), "runs/x/base") == str(tmp_path / "runs/x/base")
    hub = Recipe(policy="owner/name")
    assert adapted_policy(hub, "/cache/models--owner--name/snapshots/1") == "owner/name"
    assert adapted_policy(hub, "snapshots/x/warm_start") == str(tmp_path / "snapshots/x/warm_start")
    assert adapted_policy(hub, "runs/x/warm_start") == str(tmp_path / "runs/x/warm_start")


@pytest.mark.parametrize("made", ["nothing", "warm_start", "checkpoints/checkpoint-2"])
def test_a_run_s_folder_as_a_policy_is_told_where_its_policy_is(made):
    run = Path("runs/x")
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("policy: embedded\n")
    if made != "nothing":
        (run / made).mkdir(parents=True)
        (run / made / "config.json").write_text("{}")
        (run / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    words = "no checkpoint yet" if made == "nothing" else f"policy=runs/x/{made}"
    with pytest.raises(InputError, match=words):
        load(run)


@needs_peft
@pytest.mark.slow
@pytest.mark.parametrize("of", ["a run of ours", "peft"])
def test_adapters_are_trained_whole_or_with_new_ones_and_go_on_from_any_folder(
    of, tmp_path, monkeypatch
):
    """The new adapters named the first ones' base: what they were trained on was nowhere."""
    rows(Path("rows.jsonl"))
    write_policy(Path("policy"), "llama")
    adapters = Path("adapters")
    if of == "peft":
        peft_adapters(adapters)
    else:
        asked = ("policy=policy", "lora.rank=2", "optimizer.learning_rate=1e-2", "name=first")
        toolrest("train", *ALL, *asked, "warm_start={method: sft, steps: 2, batch_size: 2}")
        adapters = Path("runs/first/checkpoints/checkpoint-2")
    start = load(adapters)
    assert not same(start, load("policy"), 1e-4)
    looked = toolrest("doctor", f"policy={adapters}", "lora.rank=4", *ALL)
    assert "PROBLEM" not in looked, looked

    still = ("optimizer.learning_rate=1e-12", f"policy={adapters}")
    toolrest("train", *ALL, *still, "name=whole")
    assert same(load("runs/whole/checkpoints/checkpoint-2"), start, 1e-6)

    toolrest("train", *ALL, *still, "name=new", "lora.rank=4")
    checkpoint = Path("runs/new/checkpoints/checkpoint-2")
    named = json.loads((checkpoint / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == str(tmp_path / "runs" / "new" / "base")
    assert same(load(checkpoint), start, 1e-6)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = shutil.move("runs/new", elsewhere / "moved")
    if of != "peft":
        shutil.rmtree("runs/first/checkpoints/checkpoint-1")
    monkeypatch.chdir(elsewhere)
    stopped_after_a_step(Path(run))
    toolrest("train", "--resume", str(run))
    assert same(load(f"{run}/checkpoints/checkpoint-2"), start, 1e-6)
    said = toolrest("train", "--dry-run", f"policy={run}/checkpoints/checkpoint-2", "lora.rank=2")
    assert f"{run}/checkpoints/checkpoint-2" in said


@pytest.mark.slow
def test_a_policy_of_a_run_that_was_moved_is_trained_and_evaluated(tmp_path, monkeypatch):
    rows(Path("rows.jsonl"))
    write_policy(Path("policy"), "qwen2")
    sft = ("method=sft", "warm_start.steps=2", "warm_start.batch_size=2", "name=sft")
    toolrest("train", "policy=policy", *ALL, *sft)
    shutil.move("runs/sft", "kept")
    toolrest("train", "policy=kept/warm_start", *ALL, "name=rl")
    shutil.move("runs/rl", "moved")
    away = tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    policy = "../moved/checkpoints/checkpoint-2"
    for name in (policy, "../moved", "../kept/warm_start"):
        on = ("--on", "world", "--dialect", "rlla", "--limit", "1", "--max-tokens", "4")
        toolrest("evaluate", name, *on, "--out", f"out{len(name)}")
    assert "PROBLEM" not in toolrest("doctor", f"policy={policy}", "--no-self-test")

"""A run with low-rank adapters changes them alone."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from jobs import make_job
from safetensors.torch import load_file, save_file

from toolrest.engines.trl.launch import train_with_trl
from toolrest.engines.trl.settings import lora_config
from toolrest.errors import InputError
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, load_recipe
from toolrest.world.tasks import Split, make_samples

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")

SMALL = (
    "max_steps=2",
    "save_steps=2",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_response_tokens=64",
    "optimizer.learning_rate=1e-2",
    "evaluation.samples=0",
    "lora.rank=4",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, embedded_tokenizer):
    recipe = load_recipe(None, list(SMALL))
    model = load_policy(recipe)
    folder = tmp_path_factory.mktemp("run")
    job = make_job(recipe, folder, embedded_tokenizer, make_samples(Split.TRAIN, 8))
    assert train_with_trl(job, model, lambda _: None) == 2
    return recipe, job.run, model


def test_a_lora_run_changes_only_adapters(trained):
    _, _, model = trained
    start = load_policy(Recipe()).state_dict()
    after = model.state_dict()
    frozen = {name.replace(".base_layer", ""): value for name, value in after.items()}
    for name, value in start.items():
        assert torch.equal(frozen[name], value), name
    adapters = {name for name in after if "lora_" in name}
    assert any("lora_B" in name and after[name].abs().max() > 0 for name in adapters)
    assert len(after) == len(start) + len(adapters)


def test_a_checkpoint_holds_the_adapters_alone(trained):
    _, run, _ = trained
    folder = run.checkpoints / "checkpoint-2"
    assert not (folder / "model.safetensors").exists()
    names = load_file(folder / "adapter_model.safetensors")
    assert names and all("lora_" in name for name in names)


def test_a_checkpoint_is_loaded_as_the_policy_that_was_trained(trained):
    recipe, run, model = trained
    merged = load_policy(recipe, run.checkpoints / "checkpoint-2")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = model.eval()(ids).logits
        plain = load_policy(Recipe())(ids).logits
        assert not torch.allclose(expected, plain, atol=1e-3)
        assert torch.allclose(merged.eval()(ids).logits, expected, atol=1e-4)
    named = json.loads((run.checkpoints / "checkpoint-2" / "adapter_config.json").read_text())
    assert named["r"] == 4


def go_on(trained, tokenizer, folder):
    recipe = trained[0].model_copy(update={"max_steps": 3, "save_steps": 3})
    job = make_job(recipe, folder, tokenizer, make_samples(Split.TRAIN, 8), first=2)
    return train_with_trl(job, load_policy(recipe), lambda _: None)


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained[1].path, tmp_path / "run")


@pytest.mark.slow
def test_a_run_goes_on_from_its_adapters(trained, folder, embedded_tokenizer):
    assert go_on(trained, embedded_tokenizer, folder) == 3


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["renamed", "left out", "another shape", "nan", "pickle", "base"])
def test_a_run_does_not_go_on_from_other_adapters(harm, trained, folder, embedded_tokenizer):
    """Keys that were renamed or left out were passed over, and the first adapters trained on."""
    checkpoint = folder / "checkpoints" / "checkpoint-2"
    path = checkpoint / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    value = weights.pop(name)
    if harm == "renamed":
        weights["x." + name] = value
    elif harm == "another shape":
        weights[name] = value[:1].clone()
    elif harm == "nan":
        weights[name] = torch.full_like(value, torch.nan)
    if harm in ("pickle", "base"):
        weights[name] = value
        (checkpoint / "adapter_model.bin").write_bytes(b"")
    if harm == "base":
        (checkpoint / "adapter_model.bin").rename(checkpoint / "pytorch_model.bin")
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(InputError):
        go_on(trained, embedded_tokenizer, folder)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("toolrest.policy.adapters.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"toolrest\[lora\]"):
        lora_config(load_recipe(None, ["lora.rank=4"]))
    assert lora_config(Recipe()) is None

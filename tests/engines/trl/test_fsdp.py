"""Whole runs in two processes among which accelerate shards the policy by FSDP 2."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from toolrest.engines.trl.launch import _rollout_function
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
SIZE = (
    "name=it",
    "max_steps=2",
    "save_steps=1",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_response_tokens=48",
    "evaluation.samples=0",
    "engine.processes=2",
)
COPIES = ("rollout.sampler=generate", "optimizer.prefix_sharing=off")
LAUNCH = (
    *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"),
    *("--standalone", str(HERE / "fsdp_in_processes.py")),
)


def ran(folder, *words):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return folder / "runs" / "it"


def weights(run):
    """Those of the second step's checkpoint, float32."""
    (file,) = (run / "checkpoints" / "checkpoint-2").glob("*model.safetensors")
    return load_file(file)


def check_same(one, other):
    assert one.keys() >= other.keys()
    for name, weight in other.items():
        assert torch.allclose(one[name], weight, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("lora", [(), ("lora.rank=4",)], ids=["all parameters", "adapters"])
def test_a_policy_in_parts_trains_as_one_of_which_each_process_has_a_copy(tmp_path, lora):
    """Resumed after the first step, too. The processes end well, outside their group."""
    copies, parts = tmp_path / "copies", tmp_path / "parts"
    for folder in (copies, parts):
        folder.mkdir()
    expected = weights(ran(copies, "-m", "toolrest", "train", *SIZE, *COPIES, *lora))
    if lora:
        assert any(weight.any() for name, weight in expected.items() if "lora_B" in name)
    else:
        start = load_file(Path(policy_path(Recipe())) / "model.safetensors")
        assert not all(torch.equal(weight, expected[name]) for name, weight in start.items())
    run = ran(parts, *LAUNCH, "train", "engine.sharding=fsdp", *SIZE, *lora)
    check_same(weights(run), expected)
    shutil.rmtree(run / "checkpoints" / "checkpoint-2")
    (run / "summary.json").unlink()
    check_same(weights(ran(parts, *LAUNCH, "train", "--resume", "runs/it")), expected)


@pytest.mark.parametrize("sharding", ["fsdp", "zero3"])
def test_processes_with_parts_sample_by_generate_wherever_each_has_its_policy(sharding):
    """Of FSDP one has it on the CPU, where a whole policy's responses share their prompts."""
    config = SimpleNamespace(model_type="qwen3")
    config.get_text_config = lambda: config
    policy = SimpleNamespace(
        config=config, device=torch.device("cpu"), _supports_attention_backend=True
    )
    assert _rollout_function(load_recipe(None, []), policy) is shared_prefix_rollout
    parted = load_recipe(None, [f"engine.sharding={sharding}"])
    assert _rollout_function(parted, policy) is None

import json
from dataclasses import replace

import pytest

from toolrest.doctor import estimates
from toolrest.doctor.check import Status
from toolrest.doctor.environment import Torch
from toolrest.errors import InputError
from toolrest.estimate import get_gpu, get_shape
from toolrest.recipe import EMBEDDED, Recipe, override, parse_recipe

SHAPE = get_shape("Qwen/Qwen3-1.7B")
LARGE = Recipe(policy="Qwen/Qwen3-1.7B")


def test_disk_is_three_checkpoints_of_twelve_bytes_a_parameter():
    needed = 3 * 12 * SHAPE.parameters
    enough, *_ = estimates.check_disk(LARGE, SHAPE, needed, 10**12)
    assert enough.status is Status.OK
    short, *_ = estimates.check_disk(LARGE, SHAPE, needed - 1, 10**12)
    assert short.status is Status.PROBLEM and "lora.rank=32" in short.mend


def test_a_download_that_has_no_room():
    _, check = estimates.check_disk(LARGE, SHAPE, 10**12, 2 * SHAPE.parameters - 1)
    assert check.status is Status.WARNING and "HF_HOME" in check.mend
    assert len(estimates.check_disk(Recipe(), SHAPE, 10**12, 0)) == 1, "nothing to download"


def test_memory_of_a_gpu_that_is_too_small():
    recipe = LARGE.model_copy(
        update={"optimizer": LARGE.optimizer.model_copy(update={"micro_batch": 4})}
    )
    gpu = get_gpu("h200")
    assert estimates.check_gpu_memory(recipe, SHAPE, gpu).status is Status.OK
    peak = estimates.estimate(recipe, SHAPE, gpu).memory.peak
    close = estimates.check_gpu_memory(recipe, SHAPE, replace(gpu, memory=peak * 1.05))
    assert close.status is Status.WARNING
    small = estimates.check_gpu_memory(recipe, SHAPE, get_gpu("rtx4090"))
    assert small.status is Status.PROBLEM and "RTX 4090" in small.found
    assert "lora.rank=16" in small.mend, "state alone is 28 GB"


def changes(mend):
    assert mend.startswith("what fits: "), mend
    return mend.removeprefix("what fits: ").split()


@pytest.mark.parametrize("gpu", ["rtx4090", "a100", "h100"])
def test_what_is_named_for_a_gpu_fits(gpu):
    """The mend is no halving: done, it is enough, and not close."""
    recipe = parse_recipe({"policy": LARGE.policy, "rollout": {"max_response_tokens": 2048}}, "x")
    check = estimates.check_gpu_memory(recipe, SHAPE, get_gpu(gpu))
    assert check.status is Status.PROBLEM
    values = recipe.model_dump(mode="json")
    for written in changes(check.mend):
        override(values, written)
    mended = parse_recipe(values, "x")
    assert estimates.check_gpu_memory(mended, SHAPE, get_gpu(gpu)).status is Status.OK


@pytest.mark.parametrize("free", [4e9, 8e9, 16e9, 32e9])
def test_what_is_named_for_a_machine_fits(free):
    small = replace(SHAPE, layers=6, hidden=576, heads=9, kv_heads=3, intermediate=1536)
    recipe = parse_recipe({"policy": "a/b", "optimizer": {"micro_batch": 128}}, "x")
    check = estimates.check_machine_memory(recipe, small, free, 900)
    assert check.status is Status.PROBLEM
    values = recipe.model_dump(mode="json")
    for written in changes(check.mend):
        override(values, written)
    mended = parse_recipe(values, "x")
    assert estimates.check_machine_memory(mended, small, free, 900).status is not Status.PROBLEM


def test_where_nothing_helps_nothing_is_named():
    huge = replace(SHAPE, layers=200)
    check = estimates.check_machine_memory(LARGE, huge, 4e9, 137)
    assert check.status is Status.PROBLEM and "smaller policy" in check.mend


def test_a_vllm_share_that_does_not_hold_the_weights():
    recipe = Recipe(policy=LARGE.policy, rollout={"sampler": "vllm", "vllm": {"memory": 0.1}})
    check = estimates.check_gpu_memory(recipe, SHAPE, get_gpu("rtx4090"))
    assert check.status is Status.PROBLEM and "rollout.vllm.memory=0.1" in check.found


def test_memory_without_a_gpu():
    shape = estimates.find_shape(Recipe())
    assert estimates.check_machine_memory(Recipe(), shape, 8e9, 137).status is Status.OK
    tight = estimates.check_machine_memory(Recipe(), shape, 3e9, 137)
    assert tight.status is Status.WARNING
    assert estimates.check_machine_memory(LARGE, SHAPE, 8e9, 137).status is Status.PROBLEM
    slow = estimates.check_machine_memory(LARGE, SHAPE, 1e12, 137)
    assert slow.status is Status.WARNING and "slow on a CPU" in slow.found


def test_processes_and_gpus():
    recipe = Recipe(engine={"processes": 4})
    assert estimates.check_count(recipe, 4).status is Status.OK
    assert estimates.check_count(recipe, 8).status is Status.NOTE
    few = estimates.check_count(recipe, 2)
    assert (few.status, few.mend) == (Status.PROBLEM, "engine.processes=2")


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    assert estimates.check_folder(tmp_path / "not" / "there").status is Status.OK
    monkeypatch.setattr("os.access", lambda path, mode: False)
    check = estimates.check_folder(tmp_path / "runs")
    assert check.status is Status.PROBLEM and str(tmp_path) in check.found
    assert "make it writable" in check.mend


def test_shapes(tmp_path):
    assert estimates.find_shape(Recipe(policy="Qwen/Qwen3-1.7B")) == SHAPE
    assert estimates.find_shape(Recipe(policy=EMBEDDED)).hidden == 128
    with pytest.raises(InputError, match="not known before it is downloaded"):
        estimates.find_shape(Recipe(policy="somebody/else"))
    for name in ("model.safetensors", "tokenizer_config.json"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    with pytest.raises(InputError, match="gemma3"):
        estimates.find_shape(Recipe(policy=str(tmp_path)))


def test_a_policy_of_unknown_size_is_a_note(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    *_, last = estimates.check_needs(Recipe(policy="somebody/else"), Torch(None, ()), None, None)
    assert last.status is Status.NOTE


def test_the_smallest_gpu_of_the_machine_counts(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch = Torch("CUDA 13.0", (("big", 10**12), ("small", 10**9)))
    checks = {c.name: c for c in estimates.check_needs(Recipe(), torch, None, None)}
    assert checks["processes"].status is Status.NOTE
    assert checks["GPU memory"].status is Status.PROBLEM and "small" in checks["GPU memory"].found
    checks = {c.name: c for c in estimates.check_needs(Recipe(), torch, "h100", None)}
    assert "H100" in checks["GPU memory"].found

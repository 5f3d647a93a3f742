"""What only a GPU shows; every test is skipped without one. `pytest tests/test_gpu.py`.

Runs are of the embedded policy and short: they ask whether a setting runs at all there, and whether
it gives what a CPU, one process or plain forwards give.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from replayed import Fixed, distance, trained

from toolrest.engines.trl.prefix import flash
from toolrest.engines.trl.prefix.attention import attend
from toolrest.engines.trl.prefix.packing import pack
from toolrest.world.tasks import Split, make_samples

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

ROOT = Path(__file__).resolve().parent.parent
SHARDING = ROOT / "src" / "toolrest" / "engines" / "trl" / "accelerate"
SMALL = (
    "save_steps=1",
    "evaluation.samples=16",
    "rollout.prompts_per_step=4",
    "rollout.group_size=4",
)
ENVIRONMENT = os.environ | {"NO_COLOR": "1", "TOKENIZERS_PARALLELISM": "false"}


def has(package):
    return importlib.util.find_spec(package) is not None


def command(folder, *words):
    """What a command printed; fails with its last lines where it did."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-2500:]}"
    return done.stdout + done.stderr


def steps_of(folder):
    """Each step's line of a run's metrics."""
    (run,) = (folder / "runs").iterdir()
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [found for found in map(json.loads, lines) if "loss" in found]


def check_steps(folder, count):
    steps = steps_of(folder)
    assert len(steps) == count
    assert all(math.isfinite(step["loss"]) for step in steps)
    assert all(step["grad_norm"] > 0 for step in steps)


BITS = pytest.mark.skipif(not has("bitsandbytes"), reason="bitsandbytes is not installed")
WAYS = {
    "bfloat16": ("engine.precision=bfloat16",),
    "float32": ("engine.precision=float32",),
    "generate": ("rollout.sampler=generate",),
    "shared prefixes in sampling": ("rollout.sampler=shared_prefix",),
    "prefixes off": ("optimizer.prefix_sharing=off",),
    "recomputed activations": ("optimizer.gradient_checkpointing=true",),
    "exact entropies": ("weighting.entropy_source=exact", "optimizer.beta=0.003"),
    "adapters": ("lora.rank=4",),
    "supervised first": ("warm_start.method=sft", "warm_start.steps=2"),
    "8-bit moments": ("optimizer.name=adamw_8bit",),
    "paged moments": ("optimizer.name=paged_adamw_8bit",),
    "adapters on nf4": ("lora.rank=4", "lora.base_precision=nf4"),
    "adapters on nf4, paged": (
        "lora.rank=4",
        "lora.base_precision=nf4",
        "optimizer.name=paged_adamw_8bit",
    ),
}


def with_bits(name):
    needs = any("nf4" in word or "8bit" in word for word in WAYS[name])
    return pytest.param(name, marks=BITS) if needs else name


@pytest.mark.parametrize("name", map(with_bits, WAYS))
def test_a_run(tmp_path, name):
    command(tmp_path, "toolrest", "train", "max_steps=2", *SMALL, *WAYS[name])
    check_steps(tmp_path, 2)


def test_several_turns(tmp_path):
    recipe = str(ROOT / "recipes" / "agent-embedded.yaml")
    small = [*SMALL[:2], "rollout.prompts_per_step=2", "rollout.group_size=4"]
    command(tmp_path, "toolrest", "train", recipe, "max_steps=2", *small)
    assert len(steps_of(tmp_path)) == 2


def test_a_resumed_run_is_a_straight_one(tmp_path):
    small = ("engine.precision=float32", *SMALL, "name=it")
    straight, parted = tmp_path / "straight", tmp_path / "parted"
    for folder in (straight, parted):
        folder.mkdir()
    command(straight, "toolrest", "train", "max_steps=3", *small)
    command(parted, "toolrest", "train", "max_steps=1", *small)
    command(parted, "toolrest", "train", "--resume", "runs/it", "max_steps=3")
    one, two = steps_of(straight), steps_of(parted)
    assert len(one) == len(two) == 3
    for left, right in zip(one, two, strict=True):  # sums come in no fixed order there
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-2)


DEEPSPEED = pytest.mark.skipif(not has("deepspeed"), reason="DeepSpeed is not installed")


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "sharding",
    [
        "ddp",
        "fsdp",
        pytest.param("zero2", marks=DEEPSPEED),
        pytest.param("zero3", marks=DEEPSPEED),
    ],
)
def test_shared_among_processes(tmp_path, sharding, precision):
    sharded = (f"engine.sharding={sharding}", f"engine.precision={precision}", "name=it")
    command(tmp_path, "toolrest", "train", "max_steps=2", *SMALL, *sharded)
    check_steps(tmp_path, 2)
    command(tmp_path, "toolrest", "train", "--resume", "runs/it", "max_steps=3")
    check_steps(tmp_path, 3)


@pytest.mark.parametrize("sharding", ["fsdp", pytest.param("zero3", marks=DEEPSPEED)])
def test_adapters_in_parts(tmp_path, sharding):
    words = (f"engine.sharding={sharding}", "lora.rank=4", "max_steps=2")
    command(tmp_path, "toolrest", "train", *words, *SMALL)
    check_steps(tmp_path, 2)


def test_accelerate_starts_one_process(tmp_path):
    launch = ("accelerate.commands.accelerate_cli", "launch", "--num_processes", "1")
    config = ("--config_file", str(SHARDING / "fsdp.yaml"), "--main_process_port", "0")
    train = ("-m", "toolrest", "train", "engine.sharding=fsdp", "max_steps=2")
    command(tmp_path, *launch, *config, *train, *SMALL)
    check_steps(tmp_path, 2)


ON_A_GPU = {"use_cpu": False, "max_steps": 10}


@pytest.fixture(scope="module")
def dataset():
    samples = make_samples(Split.TRAIN, 24)
    return Dataset.from_list(
        [{"prompt": list(s.prompt), "ground_truth": s.ground_truth} for s in samples]
    )


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}, {"micro_tokens": 300}])
def test_sharing_gives_what_single_rows_give(tmp_path, dataset, embedded_tokenizer, more):
    given = (tmp_path, dataset, embedded_tokenizer, Fixed())
    rows = {key: value for key, value in more.items() if key != "micro_tokens"}
    start, off, _ = trained(*given, **ON_A_GPU, **rows)
    given[-1].replay()
    _, on, _ = trained(*given, **ON_A_GPU, prefix_sharing="on", **more)
    assert distance(start, off, on) <= 1e-3


@pytest.mark.parametrize("heads", [2, 8])
def test_one_kernel_for_all_sequences(heads):
    """Against single precision group by group: as near as 16 bits are."""
    packed = pack(
        [[5, 6, 7, 8, 9]] * 3 + [[13]] * 2, [[1, 2, 3], [2], [3] * 40, [4], [4] * 9], 40, "cuda"
    )
    torch.manual_seed(0)
    shapes = [(1, n, packed.ids.shape[1], 64) for n in (8, heads, heads)]
    plain = [torch.randn(shape, device="cuda", requires_grad=True) for shape in shapes]
    half = [states.detach().bfloat16().requires_grad_() for states in plain]
    assert flash.fits(half[0]) and not flash.fits(plain[0])
    found = []
    for states in (plain, half):
        out, _ = attend(torch.nn.Identity(), *states, None, scaling=0.125, packed=packed)
        weights = torch.linspace(-1, 1, out.numel(), device="cuda").view_as(out)
        (out.float() * weights).sum().backward()
        found.append([out, *(each.grad for each in states)])
    for one, two in zip(*found, strict=True):
        assert (two.float() - one).norm() <= 0.01 * one.norm()


def test_a_gpu_trains_what_a_cpu_does(tmp_path, dataset, embedded_tokenizer):
    given = (tmp_path, dataset, embedded_tokenizer, Fixed())
    start, gpu, _ = trained(*given, **ON_A_GPU)
    given[-1].replay()
    _, cpu, _ = trained(*given, **ON_A_GPU | {"use_cpu": True})
    assert distance(start, gpu, cpu) <= 1e-3

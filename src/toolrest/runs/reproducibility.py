"""What a run's numbers depend on besides its recipe."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from toolrest.io.files import write_json
from toolrest.io.objects import object_or_none
from toolrest.io.redaction import redacted
from toolrest.runs.environment import describe_environment
from toolrest.runs.folder import RunFolder

_COMPARED = ("versions", "python", "commit", "source", "machine", "variables")
_VARIABLES = re.compile(
    r"(?:ACCELERATE|ATEN|BLIS|CUBLAS|CUDA|CUDNN|DNNL|FLASH|GOMP|GOTO|HF|HIP|KMP|MKL|NCCL|NVIDIA|"
    r"OMP|ONEDNN|OPENBLAS|PYTORCH|ROCM|TOKENIZERS|TORCH|TORCHINDUCTOR|TRANSFORMERS|TRITON|VLLM|"
    r"XFORMERS)_\w+|OPENBLAS\w*|PYTHONHASHSEED|PYTHONOPTIMIZE"
)
"""Variables that change how numbers are computed, or what is loaded."""


def device() -> str:
    """What policies run on here: cuda or cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def describe_machine(processes: int) -> dict[str, Any]:
    """Processors, GPUs and settings of torch that change the order in which numbers are added.

    On a CPU, a run of the same recipe with the same of these is the same bit for bit. On a GPU,
    kernels that add in no fixed order leave rounding.
    """
    cuda = torch.cuda.is_available()
    return {
        "device": device(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if cuda else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "tf32": bool(cuda and torch.backends.cuda.matmul.allow_tf32),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def describe_variables() -> dict[str, str]:
    """Variables of the environment that numbers may depend on, without keys."""
    found = {name: redacted(value) for name, value in sorted(os.environ.items())}
    return {
        name: value
        for name, value in found.items()
        if _VARIABLES.fullmatch(name) and not name.endswith(("TOKEN", "KEY", "SECRET", "PASSWORD"))
    }


def record_machine(run: RunFolder, seed: int, processes: int) -> list[str]:
    """Keep in environment.json where the run goes on, and say what has changed since it began.

    Returns:
        A line for each difference; none where the rest is what it would have been.
    """
    return record_environment(run.environment, seed, processes)


def record_environment(path: Path, seed: int, processes: int) -> list[str]:
    """`record_machine` in a file that is named."""
    now = describe_environment(seed) | {
        "machine": describe_machine(processes),
        "variables": describe_variables(),
    }
    known = object_or_none(path)
    if known is None:
        there = path.is_file()
        write_json(path, now)
        return [f"{path} could not be read, so what has changed is not known"] if there else []
    if "machine" not in known:
        new = {name: now[name] for name in ("machine", "variables")}
        write_json(path, known | new)
        return []
    changed = environment_differences(known, now)
    if changed:
        write_json(path, known | {"resumed": [*_list(known.get("resumed")), now]})
    return changed


def environment_differences(
    before: dict[str, Any], after: dict[str, Any], was: str = "was", now: str = "is"
) -> list[str]:
    """A line for each thing that two environments that both have it differ in."""
    return [
        f"{name} {was} {old}, {now} {new}"
        for part in _COMPARED
        if part in before and part in after
        for name, old, new in _differences(part, before[part], after[part])
    ]


def _differences(part: str, before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    if not isinstance(after, dict):
        return [] if before == after else [(part, before, after)]
    before = before if isinstance(before, dict) else {}
    names = dict.fromkeys((*before, *after))
    return [(n, before.get(n), after.get(n)) for n in names if before.get(n) != after.get(n)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

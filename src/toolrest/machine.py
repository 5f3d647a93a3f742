"""What a run's numbers depend on besides its recipe."""

from __future__ import annotations

import os
from typing import Any

import torch

from toolrest.files import read_json, write_json
from toolrest.runs import RunFolder, describe_environment

_COMPARED = ("versions", "python", "machine")


def describe_machine(processes: int) -> dict[str, Any]:
    """Processors, GPUs and settings of torch that change the order in which numbers are added.

    On a CPU, a run of the same recipe with the same of these is the same bit for bit. On a GPU,
    kernels that add in no fixed order leave rounding.
    """
    cuda = torch.cuda.is_available()
    return {
        "device": "cuda" if cuda else "cpu",
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if cuda else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "tf32": bool(cuda and torch.backends.cuda.matmul.allow_tf32),
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def record_machine(run: RunFolder, seed: int, processes: int) -> list[str]:
    """Keep in environment.json where the run goes on, and say what has changed since it began.

    Returns:
        A line for each difference; none where the rest is what it would have been.
    """
    try:
        known = read_json(run.environment)
    except (OSError, ValueError, RecursionError):
        known = None
    now = describe_environment(seed) | {"machine": describe_machine(processes)}
    if not isinstance(known, dict):
        write_json(run.environment, now)
        return [f"{run.environment} could not be read, so what has changed is not known"]
    if "machine" not in known:
        write_json(run.environment, known | {"machine": now["machine"]})
        return []
    changed = [
        f"{name} was {before}, is {after}"
        for part in _COMPARED
        for name, before, after in _differences(part, known.get(part), now[part])
    ]
    if changed:
        write_json(run.environment, known | {"resumed": [*_list(known.get("resumed")), now]})
    return changed


def _differences(part: str, before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    if not isinstance(after, dict):
        return [] if before == after else [(part, before, after)]
    before = before if isinstance(before, dict) else {}
    return [(name, before.get(name), now) for name, now in after.items() if before.get(name) != now]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""Whether disk, GPUs and memory are enough for a recipe, as far as that can be calculated."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from toolrest.doctor.check import Check, Status, guarded
from toolrest.doctor.environment import Torch
from toolrest.errors import InputError, format_bytes
from toolrest.estimate import GPUS, Gpu, Memory, ModelShape, estimate, get_gpu
from toolrest.estimate.needs import Device, needed
from toolrest.estimate.settings import Lengths
from toolrest.policy.disk import checkpoint_room
from toolrest.policy.folder import policy_path
from toolrest.policy.sizing import (
    find_shape,
    free_memory,
    is_sized,
    look_at_device,
    memory_mend,
    say_time,
)
from toolrest.recipe import Recipe
from toolrest.runs.claims import check_writable, existing
from toolrest.runs.folder import RUNS

_CLOSE = 0.9
"""A calculated peak above this share of a GPU's memory may not fit."""


def check_needs(
    recipe: Recipe, torch: Torch, gpu: str | None, lengths: Lengths | None
) -> list[Check]:
    """Disk for checkpoints and the download, and memory of each GPU, or of the machine.

    Args:
        recipe: the run, with what it does not say worked out.
        torch: the GPUs of this machine.
        gpu: the GPU to calculate for instead, by its short name; None: this machine's.
        lengths: of the prompts and replies that were seen; None: the recipe's limits are taken. A
            GPU's memory is always calculated for the limits.

    Returns:
        Problems where something is too small; a note where the policy's size is not known, and of
        the time that the run takes here.

    Raises:
        InputError: there is no such policy, or no such GPU.
    """
    wanted = None if gpu is None else get_gpu(gpu)
    checks = guarded("runs folder", lambda: [check_folder(RUNS)])
    if wanted is None and torch.gpus:
        checks.append(check_count(recipe, len(torch.gpus)))
    try:
        shape = find_shape(recipe)
    except InputError as error:
        return [*checks, Check("disk, memory", Status.NOTE, f"not calculated: {error}")]
    checks += guarded("disk", lambda: check_disk(recipe, shape, _free(RUNS), _free(_hub_cache())))
    if wanted is None and torch.gpus:
        name, size = min(torch.gpus, key=lambda one: one[1])
        here = look_at_device()
        size = min(size, here.memory) if here.gpu else size
        wanted = replace(GPUS["h100"], name=name, memory=size)
    time = []
    if gpu is None and lengths is not None:
        time = guarded("time", partial(check_time, recipe, lengths))
    if wanted is not None:
        room = partial(check_gpu_memory, recipe, shape, wanted)
        return checks + guarded("GPU memory", lambda: [room()]) + time
    if recipe.engine.name == "verl" or recipe.rollout.sampler == "vllm":
        found = "no GPU here, and the recipe needs one"
        return [*checks, Check("GPU memory", Status.NOTE, found, "--gpu h100 calculates for one")]
    longest = max(lengths.prompts, default=None) if lengths is not None else None
    checks += guarded(
        "memory", lambda: [check_machine_memory(recipe, shape, free_memory(), longest)]
    )
    return checks + time


def check_time(recipe: Recipe, lengths: Lengths) -> list[Check]:
    """How long the run takes here, about; nothing for the embedded policy, which is quick."""
    line = say_time(recipe, lengths)
    return [] if line is None else [Check("time", Status.NOTE, line.removeprefix("time: "))]


def check_folder(folder: Path) -> Check:
    """Whether runs can be written here.

    Returns:
        A problem where they cannot.
    """
    try:
        check_writable(folder)
    except InputError as error:
        found, _, mend = str(error).partition("; ")
        return Check("runs folder", Status.PROBLEM, found, mend)
    return Check("runs folder", Status.OK, f"{folder.resolve()} can be written")


def check_count(recipe: Recipe, found: int) -> Check:
    """Whether there is a GPU for each process of a machine.

    Returns:
        A problem where there are fewer, a note where some stay idle.
    """
    asked = recipe.engine.processes
    if asked > found:
        return Check(
            "processes",
            Status.PROBLEM,
            f"engine.processes={asked}, but there are {found} GPUs",
            f"engine.processes={found}",
        )
    if asked < found:
        found_ = f"engine.processes={asked} of {found} GPUs"
        return Check("processes", Status.NOTE, found_, f"engine.processes={found} uses all of them")
    return Check("processes", Status.OK, f"{asked}, as many as GPUs")


def check_disk(recipe: Recipe, shape: ModelShape, free: int, cache_free: int) -> list[Check]:
    """Whether checkpoints, and the policy's download where it is on the hub, have room.

    Args:
        free: bytes free where runs are kept.
        cache_free: bytes free where downloads are kept.

    Returns:
        Problems where they have not.
    """
    found, mend = checkpoint_room(recipe, shape, free)
    checks = [Check("disk", Status.PROBLEM if mend else Status.OK, found, mend or "")]
    path = policy_path(recipe)
    if not Path(path).is_dir() and 2 * shape.parameters > cache_free:
        download = (
            f"a download of {format_bytes(2 * shape.parameters)}; {format_bytes(cache_free)} free"
        )
        mend = "make room, or set HF_HOME to a folder on a larger disk (nothing if it is there)"
        checks.append(Check("download", Status.WARNING, download, mend))
    return checks


def check_gpu_memory(recipe: Recipe, shape: ModelShape, gpu: Gpu) -> Check:
    """Whether the recipe's calculated peak fits into a GPU's memory.

    Returns:
        A problem above it, a warning where it is close.
    """
    name = "GPU memory"
    try:
        plan = estimate(recipe, shape, gpu)
    except InputError as error:
        return Check(name, Status.PROBLEM, str(error))
    share = plan.memory.peak / gpu.memory
    found = (
        f"{format_bytes(plan.memory.peak)} of {format_bytes(gpu.memory)} ({gpu.name}), "
        f"calculated; most of it: {_largest(plan.memory)}"
    )
    if share <= _CLOSE:
        return Check(name, Status.OK, found)
    status = Status.PROBLEM if share > 1 else Status.WARNING
    room = Device(gpu.name, _CLOSE * gpu.memory, gpu=True)
    return Check(name, status, found, memory_mend(recipe, shape, room))


def check_machine_memory(
    recipe: Recipe, shape: ModelShape, available: float, longest_prompt: int | None
) -> Check:
    """Whether the recipe fits into the machine's memory, trained on the CPU in float32.

    Args:
        available: bytes that are free now.
        longest_prompt: tokens of the longest prompt that was seen; None: the recipe's limit.

    Returns:
        A problem where the calculated peak is not there, with what fits (of the embedded policy,
        which training does not refuse, a warning while its state fits); a warning where the policy
        is too large to be trained on a CPU in reasonable time.
    """
    device = Device("this machine's CPU", available)
    memory = needed(recipe, shape, device, longest_prompt)
    peak, state = (each * device.sharers(recipe) for each in (memory.peak, memory.state))
    found = (
        f"no GPU: {format_bytes(peak)} of the {format_bytes(available)} free in this machine, "
        "calculated"
    )
    if peak > available:
        mend = memory_mend(recipe, shape, device, longest_prompt)
        refused = is_sized(recipe) or state > available
        return Check("memory", Status.PROBLEM if refused else Status.WARNING, found, mend)
    if shape.parameters > 100e6:
        return Check(
            "memory",
            Status.WARNING,
            f"{found}; {shape.parameters / 1e9:.1f} G parameters are slow on a CPU",
            "a machine with a GPU; --gpu h100 calculates for one",
        )
    return Check("memory", Status.OK, found)


def _largest(parts: Memory) -> str:
    names = ("weights", "gradients", "optimizer", "working", "activations", "head", "sampling")
    ordered = sorted(names, key=lambda name: getattr(parts, name), reverse=True)
    return ", ".join(f"{name} {format_bytes(getattr(parts, name))}" for name in ordered[:3])


def _free(folder: Path) -> int:
    return shutil.disk_usage(existing(folder)).free


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)

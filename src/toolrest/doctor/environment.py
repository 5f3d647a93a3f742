"""Packages, the build of torch, GPUs, and the extras that a recipe asks for."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec

from toolrest.doctor.check import Check, Status, described, guarded
from toolrest.doctor.versions import (
    NEWEST,
    check_extra_version,
    check_fit,
    check_python,
    check_version,
    pip_line,
)
from toolrest.recipe import Recipe
from toolrest.recipe.extras import EXTRAS, REPORTERS, asked_for

_TRL_ALONE = ("trl", "accelerate", "datasets", "peft")
"""Packages that the engine verl does not use."""
_SECONDS = 10


@dataclass(frozen=True)
class Torch:
    """What the installed torch can do."""

    built_for: str | None
    """`CUDA 13.0`, `ROCm 7.0`, or None for a CPU build."""
    gpus: tuple[tuple[str, int], ...]
    """(name, bytes of memory) of each GPU that it can use."""


def check_environment(recipe: Recipe) -> list[Check]:
    """Everything that does not depend on the policy or the data.

    Returns:
        Python, packages, whether they fit each other, torch's build, GPUs and extras; for the
        engine verl without those that `check_verl_engine` looks at.
    """
    verl = recipe.engine.name == "verl"
    checks = guarded("Python", lambda: [check_python()])
    for package in NEWEST:
        checks += guarded(package, lambda package=package: [_package(package, verl)])
    checks += guarded("versions fit", lambda: [check_fit()])
    checks += guarded("torch build", lambda: check_torch(look_at_torch(), nvidia_gpus()))
    apart = ("vllm", "verl") if verl else ()
    checks += [check_extra(name, recipe) for name in EXTRAS if name not in apart]
    return checks + [check_reporter(name) for name in recipe.report_to]


def _package(package: str, verl: bool) -> Check:
    if verl and find_spec(package) is None and package in _TRL_ALONE:
        return Check(package, Status.NOTE, "missing; the engine verl does not need it")
    return check_version(package)


def look_at_torch() -> Torch:
    """What the installed torch can do.

    Raises:
        ImportError: it cannot be imported.
    """
    import torch

    hip = getattr(torch.version, "hip", None)
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {hip}" if hip else None
    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gpus.append((properties.name, properties.total_memory))
    return Torch(built, tuple(gpus))


def nvidia_gpus() -> list[str] | None:
    """The NVIDIA GPUs that the driver knows by name; None where there is no working driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in listed.split("\n") if line.strip()] or None


def check_torch(torch: Torch, driver: list[str] | None) -> list[Check]:
    """Whether torch's build fits the machine's GPUs.

    Args:
        torch: what torch can do.
        driver: the GPUs that the driver knows, or None.

    Returns:
        A warning where GPUs would stay idle, or a build for GPUs finds none; then the GPUs.
    """
    name = "torch build"
    if torch.gpus:
        sizes = [f"{gpu}, {memory / 1e9:.0f} GB" for gpu, memory in torch.gpus]
        listed = "; ".join(f"{sizes.count(s)} x {s}" for s in dict.fromkeys(sizes))
        return [Check(name, Status.OK, str(torch.built_for)), Check("GPUs", Status.OK, listed)]
    if driver and torch.built_for is None:
        return [
            Check(
                name,
                Status.WARNING,
                f"a CPU build, but the driver knows {', '.join(driver)}: a run would use the CPU",
                "pip install --force-reinstall torch --index-url "
                "https://download.pytorch.org/whl/cu130 (the CUDA that nvidia-smi shows, or older)",
            )
        ]
    if driver:
        return [
            Check(
                name,
                Status.WARNING,
                f"{torch.built_for}, which cannot use {', '.join(driver)}: a run would use the CPU",
                "update the driver to one for this CUDA, or install a torch for an older CUDA; and "
                "look at CUDA_VISIBLE_DEVICES",
            )
        ]
    none = Check("GPUs", Status.NOTE, "none; a run uses the CPU")
    if torch.built_for is None:
        return [Check(name, Status.OK, "CPU"), none]
    return [
        Check(
            name,
            Status.WARNING,
            f"{torch.built_for}, but no GPU is seen: a run would use the CPU",
            "if there is a GPU, mend its driver (nvidia-smi); if not, all is well: a CPU build of "
            "torch is only smaller",
        ),
        none,
    ]


def check_extra(name: str, recipe: Recipe) -> Check:
    """Whether an extra is there.

    Returns:
        ok, a note where it is absent, a problem where it is absent and the recipe needs it; a
        warning where its version does not fit, a problem where the recipe needs it.
    """
    extra = EXTRAS[name]
    try:
        present = find_spec(extra.package) is not None
    except (ImportError, ValueError) as error:
        return Check(f"extra {name}", Status.UNKNOWN, f"could not be checked ({described(error)})")
    asked = asked_for(name, recipe)
    if present:
        version, broken = check_extra_version(extra.package)
        found = f"{extra.purpose}: {version or 'present'}"
        if broken is None and name == "vllm" and asked is not None and _lacks_gpu(recipe):
            found += f"; {asked} needs a GPU too, and there is none"
            return Check(f"extra {name}", Status.PROBLEM, found, "leave rollout.sampler out")
        if broken is None:
            return Check(f"extra {name}", Status.OK, found)
        owner = "TRL" if name == "vllm" else "toolrest"
        found += f", and {owner} takes {broken.name}{broken.specifier}"
        status = Status.WARNING if asked is None else Status.PROBLEM
        found += "" if asked is None else f", which {asked} needs"
        return Check(f"extra {name}", status, found, pip_line(broken.name, broken))
    if asked is None:
        return Check(f"extra {name}", Status.NOTE, f"{extra.purpose}: absent", extra.install)
    return Check(f"extra {name}", Status.PROBLEM, f"absent, and {asked} needs it", extra.install)


def check_reporter(name: str) -> Check:
    """Whether the package is there that a name in `report_to` needs; a problem where not."""
    extra = REPORTERS[name]
    if extra.is_there():
        return Check(name, Status.OK, extra.purpose)
    mend = f"{extra.install}, or leave {name} out"
    return Check(name, Status.PROBLEM, f"absent, and report_to={name} needs it", mend)


def _lacks_gpu(recipe: Recipe) -> bool:
    """Whether a colocated vLLM has no GPU here."""
    import torch

    return recipe.rollout.vllm.mode == "colocate" and not torch.cuda.is_available()


def check_verl_engine() -> list[Check]:
    """What the engine verl needs of this machine; each thing that is missing is a problem."""
    from toolrest.engines.verl.environment import check_verl

    return [
        Check(
            check.name,
            Status.OK if check.ok else Status.PROBLEM,
            check.found if check.ok else f"{check.found}; needed: {check.needed}",
            "" if check.ok else check.mend,
        )
        for check in check_verl()
    ]

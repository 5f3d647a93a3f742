"""Checks whether this machine has what the verl engine requires. Imports no verl."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata

from toolrest.engines.verl.names import MODULE

PLUGIN_GROUP = "verl.plugins"
_INSTALL = "pip install 'toolrest[verl]'"


@dataclass(frozen=True)
class Requirement:
    """One package, device or entry point that verl requires, and whether it is here."""

    name: str
    """What it is."""
    ok: bool
    """Whether it is there and fits."""
    found: str
    """What was found; `missing` where there is none."""
    needed: str
    """What fits."""
    mend: str
    """What to do where it does not."""


def check_verl() -> list[Requirement]:
    """Everything that a run with engine=verl needs on this machine, in the order to mend it in."""
    own = (
        "verl needs transformers < 5.11: make an environment of its own for it with "
        "tests/engines/verl/environment.sh, or by docs/verl.md"
    )
    return [
        Requirement(
            "python",
            (3, 11) <= sys.version_info[:2] < (3, 13),
            ".".join(map(str, sys.version_info[:3])),
            "3.11 or 3.12",
            "make the environment with python3.11 or python3.12",
        ),
        _package("verl", "0.9.1", (0, 9, 1), (0, 9, 2), _INSTALL),
        _package("ray", "2.41 or newer", (2, 41), None, _INSTALL),
        _package("TransferQueue", "0.1.10 or newer", (0, 1, 10), None, _INSTALL),
        _package("transformers", "5.9 or 5.10", (5, 9), (5, 11), own),
        _package("torch", "2.11 or newer", (2, 11), None, own),
        _package("vllm", "any that fits torch", (0,), None, "pip install vllm"),
        _entry_point(),
        _gpus(),
    ]


def missing_for_launch() -> Requirement | None:
    """The first thing without which verl cannot be started, or None."""
    for check in check_verl():
        if not check.ok and check.name in ("verl", "ray", "TransferQueue", "GPUs"):
            return check
    return None


def _package(
    name: str,
    needed: str,
    least: tuple[int, ...],
    below: tuple[int, ...] | None,
    mend: str,
) -> Requirement:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Requirement(name, False, "missing", needed, mend)
    version = _numbers(found)
    fits = version >= least and (below is None or version < below)
    return Requirement(name, fits, found, needed, mend)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.13.0+cpu -> (2, 13, 0)."""
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _entry_point() -> Requirement:
    """Whether verl finds the plug-in in the installed package."""
    found = [
        entry.value for entry in metadata.entry_points(group=PLUGIN_GROUP) if entry.value == MODULE
    ]
    return Requirement(
        "plug-in",
        bool(found),
        found[0] if found else "missing",
        f"entry point {PLUGIN_GROUP} = {MODULE}",
        "install toolrest again in this environment: pip install --no-deps toolrest",
    )


def _gpus() -> Requirement:
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    except ImportError:
        count = 0
    return Requirement(
        "GPUs",
        count > 0,
        str(count) if count else "missing",
        "one CUDA GPU or more",
        "run it on a machine with CUDA GPUs; --dry-run prints the command without them",
    )

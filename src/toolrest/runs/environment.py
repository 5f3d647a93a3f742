"""What a run was started with: versions, machine, command, and the code's own source."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from toolrest.io.files import sha256_of, write_json, write_whole
from toolrest.io.redaction import redacted_command
from toolrest.runs.folder import RunFolder

_VERSIONED = (
    *("toolrest", "torch", "transformers", "trl", "accelerate", "datasets", "tokenizers"),
    *("peft", "safetensors", "numpy", "scipy", "pyarrow", "jinja2", "vllm", "verl"),
)


def begin_run(run: RunFolder, recipe: str, seed: int) -> None:
    """Write what is known before a run begins, once.

    Args:
        recipe: the resolved recipe, YAML.
    """
    if not run.environment.is_file():
        write_whole(run.recipe, recipe)
        write_json(run.environment, describe_environment(seed))


def describe_environment(seed: int) -> dict[str, Any]:
    """Versions, machine, command, seed and the commit of the source tree."""
    versions = {}
    for package in _VERSIONED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "command": redacted_command(sys.argv),
        "seed": seed,
        "commit": _commit(),
        "source": source_hash()[:16],
    }


def source_hash() -> str:
    """The SHA-256 of the package's own code, in hex: two changed trees of one commit are two
    sources, and a version number is not raised with each change.
    """
    here = Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        found.update(f"{path.relative_to(here).as_posix()}:{sha256_of(path)};".encode())
    return found.hexdigest()


def _commit() -> str | None:
    """The commit of the source tree that the package runs from, with `-dirty` where files were
    changed since; None for an installed package.
    """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        # Without optional locks nothing is written, as a full disk would leave a torn index.
        command = ["git", "--no-optional-locks", "-C", str(here.parent), *arguments]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=10, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None

"""verl's checkpoints, by the names that it writes them under."""

from __future__ import annotations

from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.files import read_text

_STEP = "global_step_"


def step_folder(checkpoints: Path, step: int) -> Path:
    """The checkpoint of a step, as verl counts steps."""
    return checkpoints / f"{_STEP}{step}"


def newest_step(checkpoints: Path) -> int:
    """verl's step of its newest whole checkpoint, from the file that it writes last; 0: none.

    Raises:
        InputError: the file is broken.
    """
    path = checkpoints / "latest_checkpointed_iteration.txt"
    try:
        return int(read_text(path).strip()) if path.is_file() else 0
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); it holds one number") from error


def whole_policies(checkpoints: Path) -> dict[int, Path]:
    """{verl's step: the policy's folder} of the checkpoints that are whole, in order.

    Raises:
        InputError: see `newest_step`.
    """
    newest = newest_step(checkpoints)
    numbers = (each.name.removeprefix(_STEP) for each in checkpoints.glob(f"{_STEP}*"))
    steps = sorted(int(number) for number in numbers if number.isdecimal())
    found = {
        step: step_folder(checkpoints, step) / "actor" / "huggingface"
        for step in steps
        if step <= newest
    }
    return {step: folder for step, folder in found.items() if _has_policy(folder)}


def _has_policy(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))

"""Checkpoints that end with a file which says that all the others are there."""

from __future__ import annotations

from pathlib import Path

from toolrest.io.files import read_json

CHECKPOINT_STATE = "toolrest_state.json"
"""The last file of a checkpoint to be written; it has the others' sizes."""


def checkpoints_in(folder: Path) -> list[Path]:
    """The folders checkpoint-<step>, whole or not, by their steps."""
    found = [each for each in folder.glob("checkpoint-*") if each.name.split("-")[1].isdecimal()]
    return sorted(found, key=checkpoint_step)


def checkpoint_step(folder: Path) -> int:
    """The optimiser steps done in a checkpoint's folder."""
    return int(folder.name.split("-")[1])


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is there in the size that was written."""
    try:
        state = read_json(checkpoint / CHECKPOINT_STATE)
        sizes = state.get("files", {})
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False

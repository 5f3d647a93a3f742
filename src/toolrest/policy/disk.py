"""Whether what a run keeps of its policy has room on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.errors import InputError, counted
from toolrest.estimate import ModelShape, added_checkpoints, checkpoint_bytes
from toolrest.policy.sizing import find_shape
from toolrest.recipe import Recipe

_MODEL = 4
"""Bytes of a parameter in a policy that is saved whole, float32."""


@dataclass(frozen=True)
class OnDisk:
    """What a run has on the disk already; nothing, where it begins."""

    steps: int = 0
    """The optimiser steps done in its newest checkpoint."""
    checkpoints: int = 0
    """How many."""
    supervised: bool = False
    """Whether the policy after its supervised learning is there."""


def checkpoint_room(
    recipe: Recipe, shape: ModelShape, free: int, there: OnDisk | None = None
) -> tuple[str, str | None]:
    """What a run adds to the disk of the bytes that are free, and the mend; None: it fits.

    Args:
        recipe: the run.
        shape: its policy's.
        free: bytes.
        there: what is on the disk already.
    """
    there = there or OnDisk()
    parts, needed = [], 0.0
    rl = recipe.method == "rl"
    if (not rl or recipe.warm_start.method != "none") and not there.supervised:
        model = _MODEL * shape.parameters
        parts.append(f"the {'warm-started' if rl else 'trained'} policy of {_size(model)}")
        needed += model
    count = added_checkpoints(recipe, there.steps, there.checkpoints) if rl else 0
    if count or not parts:
        one = checkpoint_bytes(recipe, shape)
        parts.append(f"{counted(count, 'checkpoint')} of {_size(one)}")
        needed += count * one
    found = f"{' and '.join(parts)}; {_size(free)} free"
    if needed <= free:
        return found, None
    mend = "make room, or run in a folder on a larger disk"
    if count and not recipe.lora.rank:
        mend += ", or lora.rank=32, whose checkpoints are small"
    return found, mend


def refuse_disk(recipe: Recipe, free: int, there: OnDisk | None = None) -> None:
    """Refuse a recipe whose checkpoints do not fit on the disk, as far as their size is known.

    Args:
        recipe: the run.
        free: bytes free where runs are kept.
        there: what is on the disk already.

    Raises:
        InputError: they do not.
    """
    try:
        shape = find_shape(recipe)
    except InputError:  # its size is not known before it is downloaded
        return
    found, mend = checkpoint_room(recipe, shape, free, there)
    if mend is not None:
        raise InputError(f"the disk has no room for {found}; {mend}")


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"

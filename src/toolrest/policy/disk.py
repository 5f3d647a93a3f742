"""Whether what a run keeps of its policy has room on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.errors import InputError, counted, format_bytes
from toolrest.estimate import ModelShape, added_checkpoints, checkpoint_bytes, kept_checkpoints
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
    recipe: Recipe,
    shape: ModelShape,
    free: int,
    there: OnDisk | None = None,
    elsewhere: str = "run in a folder on a larger disk",
    runs: int = 1,
) -> tuple[str, str | None]:
    """What a run adds to the disk of the bytes that are free, and the mend; None: it fits.

    Args:
        free: bytes.
        there: what is on the disk already; None: the run begins.
        elsewhere: how it is kept on another disk.
        runs: how many such runs are kept.
    """
    begins = there is None
    there = there or OnDisk()
    parts, needed = [], 0.0
    rl = recipe.method == "rl"
    if (not rl or recipe.warm_start.method != "none") and not there.supervised:
        model = _MODEL * shape.parameters
        parts.append(f"the {'warm-started' if rl else 'trained'} policy of {format_bytes(model)}")
        needed += runs * model
    count = added_checkpoints(recipe, there.steps, there.checkpoints) if rl else 0
    if count or not parts:
        one = checkpoint_bytes(recipe, shape)
        parts.append(f"{counted(count, 'checkpoint')} of {format_bytes(one)}")
        needed += (count + (runs - 1) * kept_checkpoints(recipe, count)) * one  # one is on its way
    many = "" if runs == 1 else f", for each of {runs} runs"
    found = f"{' and '.join(parts)}{many}; {format_bytes(free)} free"
    if needed <= free:
        return found, None
    if not begins:
        return found, "make room"
    mend = f"make room, or {elsewhere}"
    if count and not recipe.lora.rank:
        mend += ", or lora.rank=32, whose checkpoints are small"
    return found, mend


def refuse_disk(
    recipe: Recipe,
    free: int,
    there: OnDisk | None = None,
    elsewhere: str = "run in a folder on a larger disk",
    runs: int = 1,
) -> None:
    """Refuse a recipe whose checkpoints do not fit on the disk, as far as their size is known.

    Args: as in `checkpoint_room`.

    Raises:
        InputError: they do not.
    """
    try:
        shape = find_shape(recipe)
    except InputError:  # its size is not known before it is downloaded
        return
    found, mend = checkpoint_room(recipe, shape, free, there, elsewhere, runs)
    if mend is not None:
        raise InputError(f"the disk has no room for {found}; {mend}")

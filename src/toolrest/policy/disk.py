"""Whether a run's checkpoints have room on the disk."""

from __future__ import annotations

from toolrest.errors import InputError
from toolrest.estimate import KEPT, ModelShape, checkpoint_bytes
from toolrest.policy.sizing import find_shape
from toolrest.recipe import Recipe


def checkpoint_room(recipe: Recipe, shape: ModelShape, free: int) -> tuple[str, str | None]:
    """What a run's checkpoints take of the bytes that are free, and the mend; None: they fit."""
    one = checkpoint_bytes(recipe, shape)
    found = f"{KEPT} checkpoints of {_size(one)}; {_size(free)} free"
    if KEPT * one <= free:
        return found, None
    mend = "make room, or run in a folder on a larger disk"
    if not recipe.lora.rank:
        mend += ", or lora.rank=32, whose checkpoints are small"
    return found, mend


def refuse_disk(recipe: Recipe, free: int) -> None:
    """Refuse a recipe whose checkpoints do not fit on the disk, as far as their size is known.

    Args:
        free: bytes free where runs are kept.

    Raises:
        InputError: they do not.
    """
    try:
        shape = find_shape(recipe)
    except InputError:  # its size is not known before it is downloaded
        return
    found, mend = checkpoint_room(recipe, shape, free)
    if mend is not None:
        raise InputError(f"the disk has no room for {found}; {mend}")


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"

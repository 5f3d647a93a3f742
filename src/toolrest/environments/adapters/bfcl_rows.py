"""Which of BFCL's dialogues are trained on, and which are held out; the package is not needed."""

from __future__ import annotations

import random

CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
"""Of multi-turn dialogues; an item's id is `multi_turn_base_17`."""
_NUMBERS, _HELD_OUT = 200, 40
"""Dialogues of a category, in releases v3 and v4, and how many of their numbers are held out."""


def bfcl_rows(*, heldout: bool) -> list[dict[str, str]]:
    """The rows, {"id": ..}, of one part: four dialogues of each of its numbers, in a fixed order.

    Dialogues of one number begin with one state and ask for much the same in every category, so
    that the parts differ in numbers. The first rows of either part are of all categories.
    """
    numbers = list(range(_NUMBERS))
    random.Random(0).shuffle(numbers)
    part = numbers[:_HELD_OUT] if heldout else numbers[_HELD_OUT:]
    of_all = len(CATEGORIES)
    return [
        {"id": f"multi_turn_{CATEGORIES[(at + turn) % of_all]}_{number}"}
        for turn in range(of_all)
        for at, number in enumerate(part)
    ]

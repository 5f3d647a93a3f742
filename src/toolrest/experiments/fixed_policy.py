"""What a measurement at a fixed policy must not find in a recipe, since it would be ignored."""

from __future__ import annotations

from collections.abc import Mapping

from toolrest.errors import InputError
from toolrest.recipe import Recipe, value_of

_PLAIN = {
    "environment.source": "of single responses, and not of episodes",
    "reward.function": "by the rules' reward",
    "reward.label_noise": "by true labels",
    "rollout.branches": "of independent responses",
    "optimizer.mask_truncated": "with truncated responses as the others",
    "optimizer.beta": "without the KL term",
    "optimizer.llds": "without that term",
    "advantage.filter_groups": "of every group",
    "lora.dropout": "without dropout",
    "lora.base_precision": "on whole weights",
}


def check_fixed(recipe: Recipe, measured: str, more: Mapping[str, str] | None = None) -> None:
    """Check that nothing of a recipe would be ignored.

    Args:
        measured: what is measured, such as `the gain`.
        more: by key, how it is measured whatever that key says.

    Raises:
        InputError: one of the keys is not its default.
    """
    default = Recipe()
    for key, how in {**_PLAIN, **(more or {})}.items():
        value, usual = value_of(recipe, key), value_of(default, key)
        if value != usual and value:
            shown = str(value).lower() if value is True else value
            mend = f"use {key}={usual}" if usual else "leave it out"
            raise InputError(f"{key}={shown}: {measured} is measured {how}; {mend}")

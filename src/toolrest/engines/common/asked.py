"""What a response is scored by, taken from a row of the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolrest.core.dialects.types import Tools
from toolrest.errors import InputError


@dataclass(frozen=True)
class Asked:
    """What one response is scored by."""

    ground_truth: str | tuple[str, ...]
    """A right reply, written in the dialect; of a whole dialogue one a step, in their order."""
    opening: str = ""
    """What the prompt has written of the reply already."""
    tools: Tools | str = None
    """Those that could be called, or their JSON text; see `ToolReward.score`."""
    possible_answer: str | None = None
    """See `ToolReward.score`."""


NO_TRUTH = (
    "the rewards need a data set column `ground_truth` with a right reply a row; found {found}"
)


def asked_by(row: Mapping[str, Any], opening: str) -> Asked:
    """What a response to a row of the data set is scored by.

    Args:
        opening: what the prompt has written of the reply already.

    Raises:
        InputError: the row has no `ground_truth`.
    """
    if "ground_truth" not in row:
        raise InputError(NO_TRUTH.format(found=sorted(row)))
    truth, tools = row["ground_truth"], row.get("tools")
    return Asked(as_truth(truth), opening, tools, row.get("possible_answer"))


def as_truth(given: Any) -> Any:
    """A ground truth of a row; a list of them can be looked up."""
    return tuple(given) if isinstance(given, list) else given

"""Where an inspected response or episode is from, as its page says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.io.foreign import is_number
from toolrest.recipe import Recipe
from toolrest.runs.folder import steps_before


@dataclass(frozen=True)
class Place:
    """Where a record was read."""

    source: Path | None
    """A run's folder or a file; None: it was given as a text."""
    row: int
    """Which of the file's."""
    recipe: Recipe | None
    """The run's, of a file in its folder too; None: it is of no run."""


def facts_of(
    record: dict[str, Any], place: Place, scheme: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Name and value of what is known of where a record is from.

    Args:
        scheme: by which its tokens are weighed; None: as its run weighs them.
    """
    recipe, found = place.recipe, []
    if place.source is not None:
        of_run = recipe is not None and place.source.suffix != ".jsonl"
        found.append(("run" if of_run else "file", str(place.source)))
    if "steps_done" in record or "step" in record:
        found.append(("step", str(steps_before(record) + 1)))
    if recipe is not None or (place.source is not None and place.source.suffix == ".jsonl"):
        found.append(("row", str(place.row)))
    if isinstance(record.get("identity"), str):
        found.append(("task", record["identity"]))
    if recipe is not None:
        found += [("policy", recipe.policy), ("seed", str(recipe.seed))]
        scheme = scheme or recipe.weighting.scheme
    if scheme is not None:
        found.append(("weights", scheme))
    if is_number(record.get("advantage")):
        found.append(("advantage", f"{record['advantage']:+.2f}"))
    return tuple(found)

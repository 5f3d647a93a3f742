"""Whether a run's policy has collapsed, by its evaluations on the way and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolrest.errors import InputError
from toolrest.io.files import whole_lines
from toolrest.io.foreign import is_number, parse_object
from toolrest.recipe import Recipe
from toolrest.recipe.collapse import Collapse
from toolrest.runs.folder import RunFolder

_ENTROPY = "entropy/reasoning"


@dataclass(frozen=True)
class Verdict:
    """A collapse."""

    step: int
    """The optimiser steps done at the first evaluation that shows it."""
    sign: str
    """The key of the recipe's section `collapse` that tells."""
    text: str
    """What was found, with its numbers."""


def find_collapse(
    curve: Sequence[Mapping[str, Any]],
    entropies: Mapping[int, float],
    rule: Collapse,
    steps_per_generation: int = 1,
) -> Verdict | None:
    """The first sign of a collapse; None: there is none.

    A sign whose numbers an evaluation lacks is not seen there.

    Args:
        curve: the evaluations with `step`, `exact_match` and `format`, by their steps, the first
            before training.
        entropies: mean entropy of reasoning tokens by optimiser step, nats.
        rule: what counts as a collapse.
        steps_per_generation: over how many steps the entropy is averaged: those before an
            evaluation's, whose own step is logged after it.
    """
    start = entropies[min(entropies)] if entropies else None
    best: float | None = None
    for point in curve:
        step, exact, form = point["step"], point.get("exact_match"), point.get("format")
        if step > 0:
            if best is not None and exact is not None and _at_least(best - exact, rule.exact_match):
                text = f"exact match is {exact:.1%}, and was {best:.1%}"
                return Verdict(step, "exact_match", text)
            if form is not None and form < rule.format:
                return Verdict(step, "format", f"the format of {form:.1%} of responses is right")
            last = [entropies[s] for s in entropies if step - steps_per_generation <= s < step]
            now = sum(last) / len(last) if last else None
            if start is not None and now is not None and now > rule.reasoning_entropy * start:
                text = f"reasoning entropy is {now:.3g} nats, and began at {start:.3g}"
                return Verdict(step, "reasoning_entropy", text)
        if exact is not None:
            best = exact if best is None else max(best, exact)
    return None


def _at_least(fall: float, limit: float) -> bool:
    """Whether a fall of a share is as deep as a limit, but for rounding."""
    return fall > limit - 1e-9


def collapse_of(run: RunFolder, recipe: Recipe, last: int | None = None) -> Verdict | None:
    """The first collapse of a run by its recipe; None: it has not collapsed.

    Args:
        last: the optimiser steps after which nothing is looked at.

    Raises:
        InputError: a line of its curve or metrics is broken.
    """
    curve = {row["step"]: row for row in _rows(run.curve, last, "exact_match", "format")}
    entropies = {
        row["step"]: float(row[_ENTROPY])
        for row in _rows(run.metrics, last, _ENTROPY)
        if _ENTROPY in row
    }
    ordered = [curve[step] for step in sorted(curve)]
    return find_collapse(ordered, entropies, recipe.collapse, recipe.steps_per_generation)


def _rows(path: Any, last: int | None, *names: str) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(whole_lines(path) if path.is_file() else (), 1):
        try:
            row = parse_object(line)
            step = row.get("step")
            if not isinstance(step, int) or isinstance(step, bool):
                raise ValueError("its step is no whole number")
            if wrong := [name for name in names if name in row and not is_number(row[name])]:
                raise ValueError(f"its {wrong[0]} is no number")
        except ValueError as error:
            raise InputError(f"{path}, line {number}: broken ({error}); take it out") from error
        if last is None or step <= last:
            found.append(row)
    return found

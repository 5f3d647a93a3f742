"""The rows that a recipe's episodes are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from toolrest.data.prompts import hold_out
from toolrest.data.rows import BadRow, iterate_rows
from toolrest.data.sample import Sample
from toolrest.engines.common.data import Samples
from toolrest.engines.common.enough import require_rows
from toolrest.environments.adapters.bfcl_rows import bfcl_rows
from toolrest.errors import InputError
from toolrest.recipe import Recipe, changed

WORLD, BFCL = "world", "bfcl"


def episode_samples(recipe: Recipe) -> Samples:
    """The rows of a recipe with an environment: those of its data; of the embedded chains; BFCL's
    dialogues; else {"index": i}, those that are held out after the others.

    Raises:
        InputError: the data cannot be used, or are too few.
    """
    evaluated = recipe.evaluation_sources
    if evaluated and recipe.evaluation.samples:
        without = changed(recipe, {"evaluation.path": None, "evaluation.samples": 0})
        heldout = [row for source in evaluated for row in _given(source.path)]
        if not heldout:
            raise InputError(f"evaluation.path={recipe.evaluation.path}: there is no row")
        return replace(_own_rows(without), heldout=heldout)
    return _own_rows(recipe)


def _own_rows(recipe: Recipe) -> Samples:
    """Those of a recipe's data, or made ones; see `episode_samples`."""
    count = recipe.evaluation.samples
    sources = recipe.sources
    if sources:
        rows = [row for source in sources for row in _given(source.path)]
        fraction = recipe.data.heldout_fraction if count else 0.0
        train, heldout = hold_out(rows, fraction, recipe.seed)
        require_rows(recipe, len(train), worded=False)
        return Samples(train, heldout, [])
    if recipe.environment.source == WORLD:
        from toolrest.world.chains import chain_rows
        from toolrest.world.tasks import Split

        found = [
            chain_rows(split, number, seed)
            for split, number, seed in (
                (Split.TRAIN, recipe.environment.rows, recipe.seed),
                (Split.HELDOUT, count, 0),
            )
        ]
    elif recipe.environment.source == BFCL:
        found = [
            bfcl_rows(heldout=False)[: made_rows(recipe)],
            _enough(bfcl_rows(heldout=True), count),
        ]
    else:
        rows_in_all = recipe.environment.rows
        found = [
            [{"index": index} for index in range(rows_in_all)],
            [{"index": index} for index in range(rows_in_all, rows_in_all + count)],
        ]
    train, heldout = (list(map(_generated, rows)) for rows in found)
    return Samples(train, heldout, [])


def made_rows(recipe: Recipe) -> int:
    """How many rows a recipe without data trains on; of BFCL's dialogues all by default.

    Raises:
        InputError: there are not so many.
    """
    rows = recipe.environment.rows
    if recipe.environment.source != BFCL:
        return rows
    most = len(bfcl_rows(heldout=False))
    if rows > most and rows != type(recipe.environment).model_fields["rows"].default:
        raise InputError(
            f"environment.rows={rows}: {most} of BFCL's dialogues are trained on; lower it"
        )
    return min(rows, most)


def _enough(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    if count > len(rows):
        raise InputError(
            f"evaluation.samples={count}: {len(rows)} of BFCL's dialogues are held out; lower it"
        )
    return rows[:count]


def _generated(columns: Mapping[str, Any]) -> Sample:
    named = ("split", "seed", "index", "id")
    identity = "/".join(str(columns[key]) for key in named if key in columns)
    return Sample((), "", "environment", identity, columns=columns)


def _given(path: str) -> Iterator[Sample]:
    """The rows of a file, each of which an episode begins with."""
    for number, columns in _rows(path):
        yield Sample((), "", path, f"{path}:{number}", columns=columns, row=str(number))


def _rows(path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, row in iterate_rows(path):
        if isinstance(row, BadRow):
            raise InputError(f"data {path}: row {number} cannot be read: {row}")
        yield number, row

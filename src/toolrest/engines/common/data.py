"""The rows of a run: which are trained on, which are left out, and whether they are as before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from toolrest.data.prompts import fit_prompts, hold_out_places
from toolrest.data.sample import Sample
from toolrest.data.stored import pick
from toolrest.engines.common.enough import require_rows
from toolrest.engines.common.reading import Rows, read_rows, remembered_hash
from toolrest.errors import InputError, short_list
from toolrest.io.files import write_json
from toolrest.recipe import Recipe, changed
from toolrest.runs.folder import RunFolder
from toolrest.runs.origins import accepted_changes, differences, origins, read_origins, rows_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORLD_TRAIN_SAMPLES = 4096


@dataclass(frozen=True)
class Samples:
    """The data of a run."""

    train: Sequence[Sample]
    """What the policy is trained on."""
    heldout: list[Sample]
    """What it can be evaluated on; disjoint from the former."""
    dropped: list[tuple[str, int]]
    """(row, prompt tokens) of those whose prompts are too long."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(row, reason) of those that the chat template refuses."""
    key: str | None = None
    """What `train` and `heldout` follow from, where that is known."""

    @property
    def left_out(self) -> int:
        """Rows that are not used."""
        return len(self.dropped) + len(self.refused)

    @property
    def rows(self) -> int:
        """All of them, those left out included."""
        return len(self.train) + len(self.heldout) + self.left_out


def load_samples(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, rows: Rows | None = None
) -> Samples:
    """The samples of a recipe that fit its policy.

    Args:
        rows: what `read_rows` gives; None: they are read.

    Raises:
        InputError: the data cannot be used; see `iterate_samples` and `fit_prompts`.
    """
    if recipe.evaluation_sources and recipe.evaluation.samples:
        own = _own_rows(changed(recipe, {"evaluation.path": None}), tokenizer, rows)
        return _evaluated_on(own, recipe, tokenizer)
    return _own_rows(recipe, tokenizer, rows)


def _own_rows(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, rows: Rows | None = None
) -> Samples:
    """The samples of a recipe's data; see `load_samples`."""
    count = recipe.evaluation.samples
    if not recipe.sources:
        from toolrest.world.sets import demonstrated_world, world_samples
        from toolrest.world.tasks import Split

        knobs = recipe.data.world.knobs
        return Samples(
            demonstrated_world(Split.TRAIN, _WORLD_TRAIN_SAMPLES, recipe.seed, knobs),
            world_samples(Split.HELDOUT, count, 0, knobs),
            [],
        )
    if rows is None:
        rows = read_rows(recipe, tokenizer)
    fit = fit_prompts(rows.samples, rows.lengths, recipe.data.max_prompt_tokens)
    fraction = recipe.data.heldout_fraction if count else 0.0
    groups = [rows.groups[place] for place in fit.kept]
    train, heldout = (
        [fit.kept[place] for place in places]
        for places in hold_out_places(groups, fraction, recipe.seed)
    )
    require_rows(recipe, len(train))
    return Samples(
        pick(rows.samples, train),
        list(pick(rows.samples, heldout)),
        fit.dropped,
        fit.refused,
        None if rows.key is None else _key(rows.key, train, heldout),
    )


def _evaluated_on(own: Samples, recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Samples:
    """Samples with those of `evaluation.path` held out, which are read as the others are.

    Raises:
        InputError: they cannot be used, or none fits.
    """
    path = recipe.evaluation.path
    rows = read_rows(changed(recipe, {"data.path": path, "data.sources": []}), tokenizer)
    try:
        fit = fit_prompts(rows.samples, rows.lengths, recipe.data.max_prompt_tokens)
    except InputError as error:
        raise InputError(f"evaluation.path={path}: {error}") from error
    return Samples(
        own.train,
        list(pick(rows.samples, fit.kept)),
        own.dropped + [(f"evaluation {row}", tokens) for row, tokens in fit.dropped],
        own.refused + [(f"evaluation {row}", why) for row, why in fit.refused],
        None if None in (own.key, rows.key) else _key(f"{own.key} {rows.key}", [], fit.kept),
    )


def _key(rows: str, train: list[int], heldout: list[int]) -> str:
    """Of the places of the rows that are trained on and held out, among those of a key."""
    return hashlib.sha256(json.dumps([rows, train, heldout]).encode()).hexdigest()


@dataclass(frozen=True)
class Origin:
    """What a run's rows, policy and reward are by their hashes, and whether that was so before."""

    hashes: dict[str, str] = field(default_factory=dict)
    """See `toolrest.runs.origins.origins`."""
    changed: list[str] = field(default_factory=list)
    """What has changed since the run began or was resumed last, and was accepted."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """All changes that were accepted, as data.json keeps them."""
    unknown: bool = False
    """Whether the run began without keeping hashes."""

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json has of it: nothing where nothing changed."""
        return {"changed_data": [each["what"] for each in self.history]} if self.history else {}


def check_origins(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    samples: Samples,
    run: RunFolder,
    accept: bool,
) -> Origin:
    """Compare the data, policy and reward with those that the run began with, by its data.json.

    Raises:
        InputError: they differ and that is not accepted.
    """
    rows = remembered_hash(samples.key, lambda: rows_hash(chain(samples.train, samples.heldout)))
    now = origins(recipe, tokenizer, rows)
    before = read_origins(run.data)
    changed = differences(before, now) if before else []
    if changed and not accept:
        raise InputError(
            f"{run.path}: since the run began, {short_list(changed)}; put back what was there, or "
            "go on with it by --accept-changed-data, which the run's data.json keeps"
        )
    history = accepted_changes(run.data)
    if changed:
        history.append(
            {
                "what": changed,
                "before": {name: value for name, value in before.items() if now.get(name) != value},
            }
        )
    return Origin(now, changed, history, not before and run.data.is_file())


def report_data(samples: Samples, evaluated: int, run: RunFolder, origin: Origin) -> list[str]:
    """Write data.json; returns notes on the rows that are left out and on what has changed."""
    rows, notes = samples.rows, []
    write_json(
        run.data,
        {
            "rows": rows,
            "train": len(samples.train),
            "heldout": len(samples.heldout),
            "evaluated": evaluated,
            "too_long": [{"row": row, "prompt_tokens": n} for row, n in samples.dropped],
            "refused": [{"row": row, "reason": reason} for row, reason in samples.refused],
            "origins": origin.hashes,
        }
        | ({"changed": origin.history} if origin.history else {}),
    )
    if origin.unknown:
        notes.append(
            "the run began without keeping hashes of its data and policy, so whether they are "
            "still the same is not known"
        )
    if origin.changed:
        notes.append(f"going on, as was asked for, although {short_list(origin.changed)}")
    if samples.refused:
        row, reason = samples.refused[0]
        notes.append(
            f"{len(samples.refused)} of {rows} rows are left out, since the chat template refuses "
            f"them: row {row}: {reason} (all in {run.data})"
        )
    if samples.dropped:
        named = ", ".join(row for row, _ in samples.dropped[:10])
        more = ", ..." if len(samples.dropped) > 10 else ""
        notes.append(
            f"{len(samples.dropped)} of {rows} rows have prompts over data.max_prompt_tokens and "
            f"are left out: rows {named}{more} (all in {run.data})"
        )
    return notes

"""What `toolrest new` finds out: of the data, the policy's chat template, and the memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import AUTO
from toolrest.data.formats import detect_format
from toolrest.data.prepared import KEYS as PREPARED
from toolrest.data.prepared import row_wording
from toolrest.data.rows import BadRow, Row, files_in, find_file, iterate_rows
from toolrest.data.sample import Sample
from toolrest.data.sources import Source, read_rows
from toolrest.doctor.preflight import check_reachable, usable_rows
from toolrest.errors import InputError, counted
from toolrest.io.foreign import user_path
from toolrest.io.hub import is_cached
from toolrest.policy.folder import kept_policy, policy_path
from toolrest.recipe import EMBEDDED, Recipe, changed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.estimate.needs import Device

_LOOKED = 1000
"""Rows whose format is looked at."""
_PLAIN = "hermes"
"""The dialect of a policy whose chat template writes no calls; the prompt then says how."""
_IN_DIALECT = ("prepared", "prompt")
"""Formats whose replies are in one dialect, so that only this one reads them."""
_RANK = 16
_GB = 1e9


@dataclass(frozen=True)
class Rows:
    """What the first rows of the data are."""

    path: str
    """As a recipe has it."""
    count: int
    """Rows that were looked at."""
    more: bool
    """Whether there are more."""
    formats: tuple[str, ...]
    """Their formats, the most frequent first."""
    first: tuple[tuple[int, Row], ...] = field(default=(), repr=False)
    """(number, row) of each that was looked at."""

    def __str__(self) -> str:
        count = f"the first {self.count:,} rows" if self.more else counted(self.count, "row")
        kind = "format" if len(self.formats) == 1 else "formats"
        return f"{count} of {kind} {', '.join(self.formats)}"


def look_at_data(given: str, policy: str) -> Rows:
    """Look at the first rows of a file, of the only file in a folder, or of a data set on the hub.

    Args:
        policy: that they are for.

    Raises:
        InputError: it cannot be read, holds no rows, or is of no known format.
    """
    folder = user_path(given, f"data {given}")
    alone = files_in(folder) if folder.is_dir() else []
    path = str(folder / alone[0]) if len(alone) == 1 else given
    find_file(path)
    source = Source(path)
    check_reachable(source)
    kinds: Counter[str] = Counter()
    rows = tuple(islice(iterate_rows(path), _LOOKED + 1))
    first = rows[:_LOOKED]
    for _, row in first:
        kinds.update(_format(row))
    if not kinds.keys() & set(_IN_DIALECT):
        plain = Recipe(dialect=_PLAIN).model_copy(update={"policy": policy})
        usable_rows(source, plain, first)
    formats = tuple(name for name, _ in kinds.most_common())
    return Rows(path, len(first), len(rows) > _LOOKED, formats, first)


def _format(row: Any) -> Iterator[str]:
    """The name of a row's format, where it is of one; why not is said when the row is read."""
    if isinstance(row, BadRow):
        return
    if row.keys() >= PREPARED:
        yield "prepared"
        return
    try:
        form = detect_format(row)
    except BadRow:
        return
    if form is not None:
        yield form.name


@dataclass(frozen=True)
class Fitted:
    """A recipe as its policy and data ask for it."""

    recipe: Recipe
    """With `dialect` and `data.think` settled as far as they are known."""
    tokenizer: PreTrainedTokenizerBase | None = None
    """The policy's, where it is here."""
    dialect: str | None = None
    """As the new recipe has it; None: left out."""
    why: str = ""
    """Where it comes from."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""

    @property
    def spoken(self) -> str:
        """The dialect in words."""
        return (
            "of the policy's chat template" if self.recipe.dialect == AUTO else self.recipe.dialect
        )


def fit(recipe: Recipe, rows: Rows | None) -> Fitted:
    """Fit a recipe's dialect to its policy's chat template, and its thoughts to the data.

    Raises:
        InputError: the policy or the data cannot be used, or nothing in the data can be taught.
    """
    if rows is None:
        return Fitted(recipe)
    found = Fitted(recipe) if recipe.policy == EMBEDDED else _by_template(recipe)
    think = _think(found.recipe, rows)
    if think is None or think == found.recipe.data.think:
        return found
    said = changed(recipe, {"data.think": think})
    if found.tokenizer is None:
        return replace(found, recipe=said.model_copy(update={"dialect": found.recipe.dialect}))
    from toolrest.policy.fitting import fit_recipe

    said = said.model_copy(update={"dialect": found.recipe.dialect, "policy": found.recipe.policy})
    fitted, notes = fit_recipe(said, found.tokenizer)
    return replace(found, recipe=fitted, notes=tuple(notes))


def _by_template(recipe: Recipe) -> Fitted:
    """Asked of the policy's own chat template, if it is on this machine."""
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.tokenizer import load_tokenizer

    here = _here(recipe)
    auto = recipe.model_copy(update={"dialect": AUTO})
    if here is None:
        why = "as the policy's chat template writes calls; where it writes none, name one"
        return Fitted(auto, None, AUTO, why)
    tokenizer = load_tokenizer(here)
    try:
        fitted, notes = fit_recipe(here.model_copy(update={"dialect": AUTO}), tokenizer)
        said, why = AUTO, f"as the policy's chat template writes calls: {fitted.dialect}"
    except InputError as error:
        fitted, notes = fit_recipe(here.model_copy(update={"dialect": _PLAIN}), tokenizer)
        said, why = _PLAIN, "not settled by the chat template; prompts say how calls are written"
        said_why = str(error).removeprefix("dialect=auto: ").removesuffix("; name one")
        notes = [*notes, f"dialect={_PLAIN}: {said_why}"]
    return Fitted(fitted, tokenizer, said, why, tuple(notes))


def _here(recipe: Recipe) -> Recipe | None:
    """The recipe with its policy as a folder on this machine; None: it is not here."""
    path = policy_path(recipe)
    if Path(path).is_dir():
        return recipe
    if not is_cached(path):
        return None
    try:
        found = recipe.model_copy(update={"policy": str(kept_policy(path, "--policy"))})
        policy_path(found)
    except InputError:  # a download that is not whole
        return None
    return found


def _think(recipe: Recipe, rows: Rows) -> bool | None:
    """Whether right replies have a thought; None: as the recipe's default is."""
    unknown = recipe.dialect == AUTO
    if unknown and set(rows.formats) & set(_IN_DIALECT):
        return None
    tried = recipe.model_copy(update={"dialect": _PLAIN}) if unknown else recipe
    kept = _prepared_think(rows)
    choices = (True, False) if kept is None else (kept,)
    shown = {think: _demonstrated(tried, rows, think) for think in choices}
    supervised = recipe.method != "rl" or recipe.warm_start.method != "none"
    if supervised and not any(shown.values()):
        raise InputError(
            f"data {rows.path}: no row has a demonstration, which supervised learning needs; "
            "take data with whole replies, or method rl without a warm start"
        )
    if kept is not None:
        return kept
    if shown[True] >= 0.5:
        return True
    return False if supervised else recipe.data.think


def _prepared_think(rows: Rows) -> bool | None:
    """As prepared rows have it, which are worded already; None: there are none that tell."""
    for _, row in rows.first:
        if not isinstance(row, BadRow) and row.keys() >= PREPARED:
            with suppress(BadRow):
                think = (row_wording(row) or {}).get("think")
                return think if isinstance(think, bool) else None
    return None


def _demonstrated(recipe: Recipe, rows: Rows, think: bool) -> float:
    """The share of samples of the first rows that have a demonstration."""
    tried = changed(recipe, {"data.think": think})
    reads = usable_rows(Source(rows.path), tried, rows.first)
    samples = [sample for read in reads for sample in read.samples]
    return sum(s.demonstration is not None for s in samples) / max(1, len(samples))


def fit_memory(
    fitted: Fitted, recipe: Recipe, device: Device, rows: Rows | None
) -> dict[str, Any] | None:
    """The first changes with which the calculated memory is there; sizes follow in the run.

    Recomputed activations, then a policy that is spread over the GPUs, then adapters.

    Args:
        recipe: the new one, as it is without them.
        device: one GPU, or the machine's CPU.
        rows: of the data; None: the embedded world's tasks.

    Returns:
        Values by key, none where none is needed; None: the policy's size is not known.

    Raises:
        InputError: nothing helps.
    """
    from toolrest.estimate.needs import needed
    from toolrest.estimate.settings import Lengths, work_out
    from toolrest.policy.sizing import count_recipe, find_positions, find_shape

    try:
        shape = find_shape(fitted.recipe)
    except InputError:
        return None
    tokenizer = fitted.tokenizer
    read = None if rows is None or rows.more else [_samples(fitted.recipe, rows)]
    lengths = Lengths() if tokenizer is None else count_recipe(fitted.recipe, tokenizer, read)
    positions = find_positions(fitted.recipe)

    def peak(changes: dict[str, Any]) -> float:
        sized, _ = work_out(changed(recipe, changes), shape, device, lengths, positions)
        longest = max(lengths.prompts, default=None)
        return needed(sized, shape, device, longest).peak * device.sharers(sized)

    least = math.inf
    for changes in _changes(recipe):
        found = peak(changes)
        if found <= device.memory:
            return changes
        least = min(least, found)
    raise InputError(
        f"policy={recipe.policy}: training needs {least / _GB:,.1f} GB, calculated, and "
        f"{device.name} has {device.memory / _GB:,.1f} GB; take a smaller policy, or more memory"
    )


def _samples(recipe: Recipe, rows: Rows) -> list[Sample]:
    """All samples of rows that are the whole file; bad ones are left to training to name."""
    if recipe.dialect == AUTO:
        return []
    reads = read_rows(Source(rows.path), recipe.rendering, recipe.seed, rows.first)
    return [sample for read in reads for sample in read.samples]


def _changes(recipe: Recipe) -> Iterator[dict[str, Any]]:
    recomputed = {"optimizer.gradient_checkpointing": True}
    spread = {"engine.sharding": "fsdp"} if recipe.engine.processes > 1 else None
    adapters = {"lora.rank": _RANK}
    yield {}
    yield recomputed
    if spread is not None:
        yield recomputed | spread
    yield recomputed | adapters
    if spread is not None and recipe.method == "rl" and recipe.warm_start.method == "none":
        yield recomputed | spread | adapters  # else they are merged by one process, whole

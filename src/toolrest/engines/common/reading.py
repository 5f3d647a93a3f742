"""Reads the rows of a run and counts their prompts, once for each data, policy and recipe.

What was made of the rows is kept in the user's cache folder under a hash of everything that it
follows from: `KEY.jsonl` has the samples, `KEY.json` the rest with the hash of the former.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolrest.data.measuring import measure_prompts
from toolrest.data.sample import Sample
from toolrest.data.sources import Source, iterate_samples
from toolrest.data.stored import Lines, NotStorable, StoredSamples
from toolrest.engines.common.row_key import row_key
from toolrest.io.cache import (
    cache_folder,
    keep_part,
    keep_text,
    new_part,
    open_kept,
    read_kept,
)
from toolrest.io.foreign import parse_json
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KIND = "rows"
"""Of the cache folder."""
_MOST_INDEX = 1 << 30
"""Most bytes of an index."""
_JSON_TEXT = (".json", ".jsonl", ".csv")
"""Files whose values are those of JSON."""
_HASH = re.compile(r"[0-9a-f]{64}")

OnRows = Callable[[int], None]
"""Called with the number of rows that are read so far."""


@dataclass(frozen=True)
class Rows:
    """All samples of a recipe's sources, and what was counted of them."""

    samples: Sequence[Sample]
    """Those of the first source, then those of the next."""
    lengths: Sequence[int | str]
    """The tokens of each prompt, or why the chat template refuses it."""
    groups: Sequence[str]
    """The dialogue of each."""
    counts: Sequence[int]
    """How many each source gave."""
    key: str | None = None
    """What they are kept under; None: they are not."""

    @property
    def sources(self) -> list[Sequence[Sample]]:
        """The samples of each source; none of the embedded world."""
        return [self.samples[a:b] for a, b in pairwise(accumulate(self.counts, initial=0))]


def read_rows(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, on_rows: OnRows = lambda count: None
) -> Rows:
    """The rows of a recipe; none of the embedded world.

    Args:
        recipe: fitted to the chat template.

    Raises:
        InputError: the data cannot be used; see `iterate_samples`.
    """
    key = row_key(recipe, tokenizer) if recipe.sources else None
    folder = None if key is None else cache_folder(KIND)
    if key is not None and folder is not None:
        kept = _kept(folder, key)
        if kept is not None:
            return kept
    try:
        return _stored(recipe, tokenizer, on_rows, folder, key)
    except NotStorable:
        return _in_memory(recipe, tokenizer, on_rows)


def _stored(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    on_rows: OnRows,
    folder: Path | None,
    key: str | None,
) -> Rows:
    """The rows, as they are read, in the cache folder where that can be, else in memory.

    Raises:
        NotStorable: a row holds what JSON does not.
    """
    counts, lengths, groups = [], [], []
    with new_part(folder, f"{key}.jsonl") as file:
        lines = Lines(file)
        for source in recipe.sources:
            before = len(groups)
            checked = not _is_json_text(source)
            for samples, found in measure_prompts(_samples(recipe, source), tokenizer):
                lines.add(samples, checked=checked)
                lengths += found
                groups += [sample.group for sample in samples]
                on_rows(len(groups))
            counts.append(len(groups) - before)
        rows = Rows(lines.samples(), lengths, groups, counts)
        # a file that was changed while it was read has given rows of no one state of it
        if folder is None or lines.file is None or key != row_key(recipe, tokenizer):
            return rows
        if keep_part(folder, f"{key}.jsonl", lines.file):
            index = {"sha256": lines.sha256, "ends": lines.ends, "lengths": lengths}
            index |= {"groups": groups, "counts": counts}
            index["declare"] = "".join("01"[each] for each in lines.declare)
            keep_text(folder, f"{key}.json", json.dumps(index))
    return Rows(rows.samples, lengths, groups, counts, key)


def _in_memory(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, on_rows: OnRows) -> Rows:
    sources = [_samples(recipe, source) for source in recipe.sources]
    return count_rows(sources, tokenizer, on_rows)


def count_rows(
    sources: Iterable[Iterable[Sample]],
    tokenizer: PreTrainedTokenizerBase,
    on_rows: OnRows = lambda count: None,
) -> Rows:
    """The samples of some sources with the tokens of their prompts, in memory."""
    rows: list[Sample] = []
    lengths: list[int | str] = []
    counts = []
    for source in sources:
        before = len(rows)
        for samples, found in measure_prompts(source, tokenizer):
            rows += samples
            lengths += found
            on_rows(len(rows))
        counts.append(len(rows) - before)
    return Rows(rows, lengths, [sample.group for sample in rows], counts)


def _samples(recipe: Recipe, source: Source) -> Iterator[Sample]:
    return iterate_samples(source, recipe.rendering, recipe.seed)


def _is_json_text(source: Source) -> bool:
    return Path(source.path.removesuffix(".gz")).suffix.lower() in _JSON_TEXT


def _kept(folder: Path, key: str) -> Rows | None:
    """What is kept under a key; None where there is nothing, or it is damaged."""
    text = read_kept(folder, f"{key}.json", _MOST_INDEX)
    file = None if text is None else open_kept(folder / f"{key}.jsonl")
    if text is None or file is None:
        return None
    try:
        rows = _checked(parse_json(text), file, key)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        rows = None
    if rows is None:
        file.close()
    return rows


def _checked(index: Any, file: Any, key: str) -> Rows | None:
    ends, lengths = index["ends"], index["lengths"]
    groups, counts, declare = index["groups"], index["counts"], index["declare"]
    bounds = np.array([0, *ends], dtype=np.int64)
    right = (
        len(ends) == len(lengths) == len(groups) == len(declare) == sum(counts)
        and all(type(length) in (int, str) for length in lengths)
        and all(isinstance(group, str) for group in groups)
        and all(type(count) is int and count >= 0 for count in counts)
        and bool((np.diff(bounds) > 0).all())
        and file.seek(0, 2) == bounds[-1]
    )
    file.seek(0)
    if not right or hashlib.file_digest(file, "sha256").hexdigest() != index["sha256"]:
        return None
    samples = StoredSamples(file, bounds, [each == "1" for each in declare])
    return Rows(samples, lengths, groups, counts, key)


def remembered_hash(key: str | None, work: Callable[[], str]) -> str:
    """A SHA-256, in hex, that follows from a key alone, so that it is worked out once.

    Args:
        key: None: it is worked out each time.
    """
    if key is None:
        return work()
    folder, name = cache_folder(KIND), f"{key}.txt"
    found = read_kept(folder, name, 64)
    if found is None or _HASH.fullmatch(found) is None:
        found = work()
        keep_text(folder, name, found)
    return found

"""Sources of samples: files or hub data sets of any format, how much of each, masked or not."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolrest.data.decompose import Rendering, to_samples
from toolrest.data.formats import Format, detect_format, format_names, get_format
from toolrest.data.formats.json_fields import field as row_field
from toolrest.data.formats.json_fields import loaded, objects
from toolrest.data.masking import masked
from toolrest.data.record import Record
from toolrest.data.rows import BadRow, iterate_rows
from toolrest.data.sample import Sample
from toolrest.errors import InputError

_PREPARED = frozenset(("prompt", "reward_model", "dialect"))
_NAMED = 20
"""Rows of each reason that are named."""


@dataclass(frozen=True)
class Source:
    """Where samples come from."""

    path: str
    """A file, or a data set on the hub."""
    format: str | None = None
    """None: seen from the first row's keys."""
    take: int | None = None
    """Samples at most, drawn at random; None: all."""
    share: float = 1.0
    """Share of the rows, drawn at random before `take`."""
    mask: float = 0.0
    """Share of the rows whose tools and parameters get random names."""


@dataclass
class Skipped:
    """Rows that could not be used."""

    reasons: Counter[str] = field(default_factory=Counter)
    """How many, by reason."""
    rows: dict[str, list[str]] = field(default_factory=dict)
    """The first of them, by reason."""

    def add(self, row: str, reason: str) -> None:
        """Count a row."""
        self.reasons[reason] += 1
        named = self.rows.setdefault(reason, [])
        if len(named) < _NAMED:
            named.append(row)

    @property
    def count(self) -> int:
        """How many in all."""
        return sum(self.reasons.values())


def iterate_samples(
    source: Source, rendering: Rendering, seed: int, skipped: Skipped | None = None
) -> Iterator[Sample]:
    """The samples of a source, in order, one row in memory at a time (with `take`, that many).

    Args:
        seed: of what is drawn and masked.
        skipped: takes rows that cannot be used; None: the first one is an error.

    Raises:
        InputError: the source cannot be read, its format is not known, or a row cannot be used.
    """
    found = _all_samples(source, rendering, seed, skipped)
    if source.take is None:
        yield from found
    else:
        yield from _drawn(found, source.take, random.Random(f"{seed}/{source.path}"))


def _drawn(samples: Iterable[Sample], count: int, rng: random.Random) -> Iterator[Sample]:
    """`count` of them at random, in order (reservoir sampling)."""
    kept: list[tuple[int, Sample]] = []
    for number, sample in enumerate(samples):
        if len(kept) < count:
            kept.append((number, sample))
        elif (place := rng.randrange(number + 1)) < count:
            kept[place] = number, sample
    for _, sample in sorted(kept, key=lambda pair: pair[0]):
        yield sample


def _all_samples(
    source: Source, rendering: Rendering, seed: int, skipped: Skipped | None
) -> Iterator[Sample]:
    for read in read_rows(source, rendering, seed):
        if read.bad is None:
            yield from read.samples
        elif skipped is not None:
            skipped.add(str(read.number), str(read.bad))
        else:
            raise InputError(
                f"data {source.path}: row {read.number}: {read.bad}; mend the row, or let "
                "toolrest data prepare leave such rows out"
            )


@dataclass(frozen=True)
class Read:
    """What a row gave."""

    number: int
    """Which row, from 0."""
    samples: list[Sample]
    """Its samples."""
    record: Record | None = None
    """What they were made of; None for a row that was prepared."""
    bad: BadRow | None = None
    """Why there are none."""


def read_rows(source: Source, rendering: Rendering, seed: int) -> Iterator[Read]:
    """Every row of a source that `share` leaves, read.

    Raises:
        InputError: the source cannot be read, or its format is not known.
    """
    name = Path(source.path).name if Path(source.path).suffix else source.path
    form = None if source.format is None else get_format(source.format)
    answers: dict[Any, Any] | None = None
    for number, row in iterate_rows(source.path):
        if _draw(seed, source.path, number, "share") >= source.share:
            continue
        try:
            if isinstance(row, BadRow):
                raise row
            if source.format is None and row.keys() >= _PREPARED:
                yield Read(number, [_prepared(row, rendering, name, number)])
                continue
            form = form or _seen(row, source)
            if form.name == "bfcl" and "ground_truth" not in row:
                answers = _answers(source.path) if answers is None else answers
                row = row | {"ground_truth": answers.get(row.get("id"))}
            record = form.read(row)
            if source.mask and _draw(seed, source.path, number, "mask") < source.mask:
                record = _masked(record, f"{seed}/{source.path}/{number}")
            samples = to_samples(record, rendering, name, str(number))
        except BadRow as bad:
            yield Read(number, [], bad=bad)
            continue
        yield Read(number, samples, record)


def _draw(seed: int, path: str, number: int, what: str) -> float:
    """A number in [0, 1) for a row."""
    return zlib.crc32(f"{what}/{seed}/{path}/{number}".encode()) / 2**32


def _seen(row: dict[str, Any], source: Source) -> Format:
    form = detect_format(row)
    if form is None:
        raise InputError(
            f"data {source.path}: its rows have {', '.join(sorted(row)) or 'no keys'}, which is "
            f"none of the formats {', '.join(format_names())}; rename the keys, or name the format"
        )
    return form


def _masked(record: Record, seed: str) -> Record:
    """Under random names; the prompt is then worded here, not by the source."""
    dialogue, mask = masked(record.dialogue, seed)
    return Record(dialogue, true_names=mask.true_names())


def _answers(path: str) -> dict[Any, Any]:
    """BFCL's answers by id, from the file that it keeps them in."""
    file = Path(path)
    beside = file.parent / "possible_answer" / file.name
    if not beside.is_file():
        return {}
    found = {}
    for _, row in iterate_rows(str(beside)):
        if not isinstance(row, BadRow):
            found[row.get("id")] = row.get("ground_truth")
    return found


def _prepared(row: dict[str, Any], rendering: Rendering, name: str, number: int) -> Sample:
    """A row that `toolrest data prepare` has written."""
    if row["dialect"] != rendering.dialect:
        raise InputError(
            f"data {name}: prepared for dialect={str(row['dialect'])[:100]}, and the recipe has "
            f"dialect={rendering.dialect}"
        )
    messages = row.get("messages")
    prompt = row["prompt"] if messages is None else loaded(messages, "messages")
    prompt = objects(prompt, "prompt")
    if not prompt:
        raise BadRow("prompt is empty")
    for message in prompt:
        row_field(message, "role", str, "prompt's ")
        if message.get("content") is not None:
            row_field(message, "content", str, "prompt's ")
    tools, names = loaded(row.get("tools"), "tools"), loaded(row.get("true_names"), "true_names")
    extra = row.get("extra_info")
    extra = extra if isinstance(extra, dict) else {}
    demonstration = row.get("demonstration")
    if names is not None and not (
        isinstance(names, dict) and all(isinstance(true, str) for true in names.values())
    ):
        raise BadRow("true_names is not an object of names")
    if demonstration is not None and not isinstance(demonstration, str):
        raise BadRow(f"demonstration is {type(demonstration).__name__}, not str")
    return Sample(
        prompt=tuple(prompt),
        ground_truth=row_field(row_field(row, "reward_model", dict), "ground_truth", str),
        source=str(row.get("data_source") or name),
        identity=str(extra.get("identity") or number),
        demonstration=demonstration,
        tools=None if tools is None else tuple(objects(tools, "tools")),
        true_names=names,
        group=str(extra.get("group") or ""),
    )

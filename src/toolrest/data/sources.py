"""Sources of samples: files or hub data sets of any format, with sampling and masking."""

from __future__ import annotations

import json
import random
import re
import shlex
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolrest.data.decompose import Rendering, to_samples
from toolrest.data.formats import Format, check_named, detect_format, format_names, get_format
from toolrest.data.masking import masked
from toolrest.data.prepared import KEYS as PREPARED
from toolrest.data.prepared import prepared_sample, settings_of
from toolrest.data.record import Record
from toolrest.data.rows import BadRow, Row, iterate_rows
from toolrest.data.sample import Sample
from toolrest.data.wording import writable
from toolrest.errors import InputError
from toolrest.io.foreign import user_path

_NAMED = 20
"""Most rows that are named for each reason."""
_LONGEST = 400
"""Most characters of keys in a message."""
_WRITE = json.JSONEncoder(ensure_ascii=False).encode
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """One source of samples."""

    path: str
    """A file, or a data set on the hub."""
    format: str | None = None
    """None: seen from each row's keys."""
    take: int | None = None
    """Samples at most, drawn at random; None: all."""
    share: float = 1.0
    """Share of the rows, drawn at random before `take`."""
    mask: float = 0.0
    """Share of the rows whose tools and parameters get random names."""
    drawn_by: str | None = None
    """What seeds the draws; None: the path."""

    @property
    def seed(self) -> str:
        """What `share`, `take` and `mask` are drawn by."""
        return self.drawn_by or self.path


@dataclass
class Skipped:
    """Counts of unusable rows by reason."""

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
        """Number of rows in total."""
        return sum(self.reasons.values())


Sift = Callable[["Read"], Iterable[tuple[str, Sample, str | None]]]
"""Of what a row gave: (which row and step, sample, why it is left out or None) of each sample."""


def iterate_samples(
    source: Source,
    rendering: Rendering,
    seed: int,
    skipped: Skipped | None = None,
    sift: Sift | None = None,
) -> Iterator[Sample]:
    """The samples of a source, in order, one row in memory at a time (with `take`, that many).

    Args:
        seed: of what is drawn and masked.
        skipped: takes rows that cannot be used; None: the first one is an error.
        sift: says which samples are left out, which `skipped` takes too; None: none.

    Raises:
        InputError: the source cannot be read, its format is not known, or a row cannot be used.
    """
    found = _all_samples(source, rendering, seed, skipped, sift or _all_of)
    if source.take is None:
        yield from found
    else:
        yield from _drawn(found, source.take, random.Random(f"{seed}/{source.seed}"))


def _all_of(read: Read) -> Iterator[tuple[str, Sample, None]]:
    return ((str(read.number), sample, None) for sample in read.samples)


def _drawn(samples: Iterable[Sample], count: int, rng: random.Random) -> Iterator[Sample]:
    """A random `count` of the samples, in order (reservoir sampling)."""
    kept: list[tuple[int, Sample]] = []
    for number, sample in enumerate(samples):
        if len(kept) < count:
            kept.append((number, sample))
        elif (place := rng.randrange(number + 1)) < count:
            kept[place] = number, sample
    for _, sample in sorted(kept, key=lambda pair: pair[0]):
        yield sample


def bad_row(path: str, read: Read, rendering: Rendering | None, policy: str | None = None) -> str:
    """What is said of a row that cannot be used, with the command that leaves such rows out.

    Args:
        path: of its source.
        read: the row.
        rendering: the recipe's; None: its dialect is not settled yet.
        policy: whose chat template settles what is not; None: not known.
    """
    written = [] if rendering is None else settings_of(rendering)
    if policy is not None and (rendering is None or rendering.open):
        written += ["--policy", policy]
    prepare = shlex.join(
        ["toolrest", "data", "prepare", path, *written, "--output", "rows.parquet"]
    )
    return f"data {path}: row {read.number}: {read.bad}; mend the row, or leave such out: {prepare}"


def _all_samples(
    source: Source, rendering: Rendering, seed: int, skipped: Skipped | None, sift: Sift
) -> Iterator[Sample]:
    for read in read_rows(source, rendering, seed):
        if read.bad is not None and skipped is None:
            raise InputError(bad_row(source.path, read, rendering))
        if read.bad is not None:
            assert skipped is not None
            skipped.add(str(read.number), str(read.bad))
            continue
        for row, sample, reason in sift(read):
            if reason is None:
                yield sample
            elif skipped is not None:
                skipped.add(row, reason)


@dataclass(frozen=True)
class Read:
    """The result of reading one row."""

    number: int
    """Which row of the file, from 0."""
    samples: list[Sample]
    """Its samples."""
    record: Record | None = None
    """What they were made of; None for a row that was prepared."""
    bad: BadRow | None = None
    """Why there are none."""

    def row(self, sample: int) -> str:
        """The label of a sample: `3`, or `3.1` if the row gives several."""
        return f"{self.number}" if len(self.samples) == 1 else f"{self.number}.{sample}"


def read_rows(
    source: Source,
    rendering: Rendering | None,
    seed: int,
    rows: Iterable[tuple[int, Row]] | None = None,
) -> Iterator[Read]:
    """Read every row of a source that `share` selects.

    Args:
        rendering: None: only the rows' formats are looked at, which gives no samples.
        seed: of what is drawn and masked.
        rows: what `iterate_rows` gives of it, or the first of that; None: it is read.

    Raises:
        InputError: the source cannot be read, or the format of its first row is not known.
    """
    reader = _RowReader(source, rendering, seed)
    for number, row in iterate_rows(source.path) if rows is None else rows:
        if _draw(seed, source.seed, number, "share") >= source.share:
            continue
        try:
            yield reader.read(number, row)
        except BadRow as bad:
            yield Read(number, [], bad=bad)
        except RecursionError:
            yield Read(number, [], bad=BadRow("objects and lists are nested too deeply"))


class _RowReader:
    """Reads the rows of one source."""

    def __init__(self, source: Source, rendering: Rendering | None, seed: int) -> None:
        self._source = source
        self._rendering = rendering
        self._seed = seed
        self._name = Path(source.path).name if Path(source.path).suffix else source.path
        self._form: Format | None = None
        """What was read last."""
        self._answers: dict[Any, Any] | None = None

    def read(self, number: int, row: Row) -> Read:
        """A row. Raises `BadRow`, and `InputError` where nothing is known of the file's format."""
        if isinstance(row, BadRow):
            raise row
        source, name, rendering = self._source, self._name, self._rendering
        if source.format is None and row.keys() >= PREPARED:
            made = [] if rendering is None else [prepared_sample(row, rendering, name, number)]
            return Read(number, list(map(_encodable, made)))
        form = self._form = self._format(row)
        if rendering is None:
            return Read(number, [])
        if form.name == "bfcl" and row.get("ground_truth") is None:
            row = row | {"ground_truth": self._answer(row.get("id"))}
        record = form.read(row, rendering.dialect)
        if source.mask and _draw(self._seed, source.seed, number, "mask") < source.mask:
            record = _masked(record, f"{self._seed}/{source.seed}/{number}")
        samples = to_samples(record, rendering, name, str(number))
        return Read(number, list(map(_encodable, samples)), record)

    def _format(self, row: dict[str, Any]) -> Format:
        if self._source.format is not None:
            named = get_format(self._source.format)
            check_named(row, named)
            return named
        # a row that has lost a key is told what its file's format misses in it
        form = detect_format(row) or self._form
        if form is None:
            raise InputError(
                f"data {self._source.path}: its rows have {_keys(row)}, "
                f"which is none of the formats {', '.join(format_names())}; rename the keys, or "
                "name the format"
            )
        return form

    def _answer(self, identity: Any) -> Any:
        if self._answers is None:
            self._answers = _answers(self._source.path)
        return self._answers.get(identity)


def _encodable(sample: Sample) -> Sample:
    """The sample with U+FFFD for the lone surrogates of its prompt, which no encoding can write.

    Raises:
        BadRow: a right reply has one, which no policy can say.
    """
    for text in (sample.ground_truth, sample.demonstration or ""):
        half = _SURROGATE.search(text)
        if half is not None:
            raise BadRow(f"a right reply holds half of a character ({half[0]!a}); write it whole")
    if not _has_halves((sample.prompt, sample.tools, sample.declared)):
        return sample
    return replace(
        sample,
        prompt=tuple(map(writable, sample.prompt)),
        tools=None if sample.tools is None else tuple(map(writable, sample.tools)),
        declared=tuple(map(writable, sample.declared)),
    )


def _has_halves(value: Any) -> bool:
    """Whether a text in a value may hold a lone surrogate."""
    try:
        _WRITE(value).encode()
    except (UnicodeEncodeError, TypeError, ValueError):
        return True
    return False


def _keys(row: dict[str, Any]) -> str:
    names = ", ".join(sorted(row)) or "no keys"
    return names if len(names) <= _LONGEST else f"{names[:_LONGEST]}.."


def _draw(seed: int, path: str, number: int, what: str) -> float:
    """A number in [0, 1) for a row."""
    return zlib.crc32(f"{what}/{seed}/{path}/{number}".encode()) / 2**32


def _masked(record: Record, seed: str) -> Record:
    """Under random names; the prompt is then worded here, not by the source. Without tools there
    are no names, and the record stays.
    """
    if not record.dialogue.tools:
        return record
    dialogue, mask = masked(record.dialogue, seed)
    alone = record.last_alone or record.prompt is not None
    return Record(dialogue, true_names=mask.true_names(), last_alone=alone)


def answers_beside(path: str) -> Path | None:
    """The file that BFCL keeps the answers of a source's questions in; None where there is none."""
    file = user_path(path, f"data {path}")
    beside = file.parent / "possible_answer" / file.name
    return beside if beside.is_file() else None


def _answers(path: str) -> dict[Any, Any]:
    """BFCL's answers by id, from the file that it keeps them in."""
    beside = answers_beside(path)
    if beside is None:
        return {}
    found = {}
    for _, row in iterate_rows(str(beside)):
        if not isinstance(row, BadRow):
            found[row.get("id")] = row.get("ground_truth")
    return found

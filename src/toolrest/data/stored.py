"""Samples as lines of JSON in a file: each is read when it is asked for.

Sixty thousand samples as objects take half a gigabyte and seconds to make.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, overload

import numpy as np

from toolrest.data.sample import Sample
from toolrest.errors import InputError
from toolrest.io.redaction import key_in

_TEXTS = (1, 2, 3, 8, 9)
_OBJECTS = (0, 5, 7)
"""Places in a line of fields that are texts, and of those that are lists of objects."""

_WRITE = json.JSONEncoder(separators=(",", ":")).encode


class NotStorable(Exception):
    """A sample has values that JSON does not give back, such as dates from a parquet file."""


def encode_sample(sample: Sample, *, checked: bool = False) -> bytes:
    """A sample as a line of JSON.

    Args:
        checked: whether its values may be others than those of JSON, so that the line is read back
            and compared.

    Raises:
        NotStorable: they are.
    """
    fields = (
        *(sample.prompt, sample.ground_truth, sample.source, sample.identity),
        *(sample.demonstration, sample.tools, sample.true_names, sample.declared),
        *(sample.group, sample.row),
    )
    try:
        line = _WRITE(fields).encode("ascii") + b"\n"
        if checked and decode_sample(line) != sample:
            raise NotStorable
    except (TypeError, ValueError, RecursionError) as error:
        raise NotStorable from error
    return line


def decode_sample(line: bytes) -> Sample:
    """The sample of a line.

    Raises:
        ValueError: it is not one.
    """
    fields = json.loads(line)
    if not _is_sample(fields):
        raise ValueError("not a sample")
    prompt, truth, source, identity, shown, tools, names, declared, group, row = fields
    return Sample(
        prompt=tuple(prompt),
        ground_truth=truth,
        source=source,
        identity=identity,
        demonstration=shown,
        tools=None if tools is None else tuple(tools),
        true_names=names,
        declared=tuple(declared),
        group=group,
        row=row,
    )


def _is_sample(fields: Any) -> bool:
    return (
        isinstance(fields, list)
        and len(fields) == 10
        and all(isinstance(fields[place], str) for place in _TEXTS)
        and (fields[4] is None or isinstance(fields[4], str))
        and all(
            isinstance(fields[place], list)
            and all(isinstance(each, dict) for each in fields[place])
            for place in _OBJECTS
            if place != 5 or fields[place] is not None
        )
        and (fields[6] is None or isinstance(fields[6], dict))
    )


class Lines:
    """Lines that are appended, then read by their places.

    Args:
        file: where to; None: memory. A file that cannot be written in any more, as on a full disk,
            or that would hold a key of the environment, is left for memory.
    """

    def __init__(self, file: BinaryIO | None) -> None:
        self.file = file
        """None: they are in memory."""
        self._memory = io.BytesIO()
        self._hash = hashlib.sha256()
        self.ends: list[int] = []
        """Where each line ends, bytes."""
        self.declare: list[bool] = []
        """Whether each sample declares tools."""

    def add(self, samples: Sequence[Sample], *, checked: bool = False) -> None:
        """Append samples.

        Args:
            checked: see `encode_sample`.

        Raises:
            NotStorable: one cannot be a line.
        """
        lines = [encode_sample(sample, checked=checked) for sample in samples]
        end = self.ends[-1] if self.ends else 0
        for line in lines:
            end += len(line)
            self.ends.append(end)
        self.declare += [bool(sample.declared) for sample in samples]
        whole = b"".join(lines)
        self._hash.update(whole)
        if self.file is not None and key_in(whole.decode("ascii")) is not None:
            self._leave_file(end - len(whole))
        if self.file is not None:
            try:
                self.file.write(whole)
                self.file.flush()
                return
            except OSError:
                self._leave_file(end - len(whole))
        self._memory.write(whole)

    def _leave_file(self, written: int) -> None:
        """Go on in memory, with what is in the file so far."""
        assert self.file is not None
        self._memory.write(_read(self.file, 0, written))
        self.file = None

    @property
    def sha256(self) -> str:
        """Of all lines, in hex."""
        return self._hash.hexdigest()

    def samples(self) -> StoredSamples:
        """The samples, once all are there."""
        where = self.file or self._memory.getbuffer()
        return StoredSamples(where, [0, *self.ends], self.declare)


class StoredSamples(Sequence[Sample]):
    """Samples that are read from their lines one by one; a slice is a view of the same lines.

    Args:
        where: the lines: an open file, or memory.
        bounds: where lines begin and end, bytes, N + 1 of them.
        declare: whether each sample declares tools, N of them.
        places: the numbers of the lines that are meant; None: all.
    """

    def __init__(
        self,
        where: BinaryIO | memoryview,
        bounds: Sequence[int] | np.ndarray,
        declare: Sequence[bool] | np.ndarray,
        places: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self._where = where
        self._bounds = np.asarray(bounds, dtype=np.int64)
        self._declare = np.asarray(declare, dtype=bool)
        every = np.arange(len(self._declare))
        self._places = every if places is None else np.asarray(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> StoredSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | StoredSamples:
        if isinstance(index, slice):
            return self._view(self._places[index])
        place = self._places[index]
        start, end = int(self._bounds[place]), int(self._bounds[place + 1])
        try:
            return decode_sample(_read(self._where, start, end))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                "the rows that were kept in the cache folder were changed while they were in use; "
                "start again"
            ) from error

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def chosen(self, places: Sequence[int]) -> StoredSamples:
        """The samples of these places, in their order."""
        return self._view(self._places[np.asarray(places, dtype=np.int64)])

    def _view(self, places: np.ndarray) -> StoredSamples:
        return StoredSamples(self._where, self._bounds, self._declare, places)

    @property
    def any_declares(self) -> bool:
        """Whether one of them declares tools."""
        return bool(self._declare[self._places].any())


def _pread(file: BinaryIO, count: int, start: int) -> bytes:
    return os.pread(file.fileno(), count, start)


def _read(where: BinaryIO | memoryview, start: int, end: int) -> bytes:
    """Bytes of a file, whatever else reads it, or of memory."""
    if isinstance(where, memoryview):
        return bytes(where[start:end])
    found = b""
    while len(found) < end - start:
        part = _pread(where, end - start - len(found), start + len(found))
        if not part:
            break
        found += part
    return found


def pick(samples: Sequence[Sample], places: Sequence[int]) -> Sequence[Sample]:
    """The samples of these places; not read yet where they are stored."""
    if isinstance(samples, StoredSamples):
        return samples.chosen(places)
    return [samples[place] for place in places]

"""Finds a row by its number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from toolrest.data.decompose import Rendering
from toolrest.data.sample import Sample
from toolrest.data.sources import Source, read_rows
from toolrest.errors import InputError

_NAME = re.compile(r"(\d{1,18})(?:\.(\d{1,18}))?")


def read_place(row: str) -> tuple[int, int | None]:
    """(row, sample of it) of a label such as `3.1`; None: all of the row's samples.

    Raises:
        InputError: it is written in another way.
    """
    found = _NAME.fullmatch(row)
    if found is None:
        raise InputError(f"--row {row[:100]}: there is no such sample; name one as 3, or as 3.1")
    return int(found[1]), None if found[2] is None else int(found[2])


def pick_row(
    sources: Sequence[Source], rendering: Rendering, seed: int, row: str
) -> Iterator[tuple[str, Sample]]:
    """(label, sample) of each sample of a row, in every source that has the row.

    Args:
        row: its number in the file, from 0, whatever a mixture draws of it; `3.1` is the second
            sample of row 3.

    Raises:
        InputError: no source has it, or the row cannot be used.
    """
    number, step = read_place(row)
    none, most = True, 0
    for source in sources:
        for read in read_rows(replace(source, share=1.0), rendering, seed):
            most = max(most, read.number + 1)
            if read.number < number:
                continue
            if read.bad is not None:
                raise InputError(f"data {source.path}: row {number}: {read.bad}")
            for at, sample in enumerate(read.samples):
                if step in (None, at):
                    none = False
                    # a prepared row tells where it comes from
                    origin = f": {sample.source}, {sample.identity}" if read.record is None else ""
                    yield f"{source.path}, row {read.row(at)}{origin}", sample
            break
    if none:
        rows = "none" if not most else f"rows 0 to {most - 1}"
        raise InputError(f"--row {row}: there is no such sample; of the file, {rows} were read")

"""Checks data sets; gives one report a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolrest.data.decompose import Rendering
from toolrest.data.findings import KINDS, NO_LIMITS, UNREADABLE, Checker, Limits, question
from toolrest.data.sources import Source, read_rows

__all__ = ["KINDS", "UNREADABLE", "Report", "check", "questions_of"]


@dataclass
class Report:
    """The findings of one source."""

    source: str
    """Its path."""
    rows: int = 0
    """Rows that were read."""
    samples: int = 0
    """Samples that they give."""
    findings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """(row, detail) by kind, in order; a row of several samples with the one that is meant."""
    lengths: list[int] = field(default_factory=list)
    """Prompt tokens of each sample that the template writes, where a tokenizer is known."""

    def add(self, kind: str, row: str, detail: str) -> None:
        """Add a finding."""
        self.findings.setdefault(kind, []).append((row, detail))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "source": self.source,
            "rows": self.rows,
            "samples": self.samples,
            "findings": {
                kind: [{"row": row, "detail": detail} for row, detail in found]
                for kind, found in self.findings.items()
            },
            "prompt_tokens": self.lengths,
        }


def check(
    sources: Sequence[Source],
    rendering: Rendering,
    *,
    seed: int = 0,
    limits: Limits = NO_LIMITS,
) -> list[Report]:
    """Check every row of every source.

    Args:
        limits: what else is looked for; a question counts as overlapping where another source
            given here, or `limits.against`, has it.

    Raises:
        InputError: a source cannot be read.
    """
    checker = Checker(rendering.dialect, limits)
    reports = []
    for source in sources:
        report = Report(source.path)
        checker.begin()
        for read in read_rows(source, rendering, seed):
            report.rows += 1
            report.samples += len(read.samples)
            for found in checker.look(read, source.path):
                row = str(read.number) if found.sample is None else read.row(found.sample)
                report.add(found.kind, row, found.detail)
        report.lengths = checker.lengths
        reports.append(report)
    return reports


def questions_of(source: Source, rendering: Rendering, seed: int) -> Iterator[tuple[str, str]]:
    """(label, all user messages as one text) of every readable row of a source.

    Raises:
        InputError: the source cannot be read.
    """
    for read in read_rows(source, rendering, seed):
        asked = question(read)
        if asked:
            yield f"{source.path} row {read.number}", asked

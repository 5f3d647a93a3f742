"""What is wrong with a data set, row by row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolrest.data.decompose import Rendering
from toolrest.data.dialogue import Tool, UserTurn
from toolrest.data.formats.apibank import ONE_CALL
from toolrest.data.formats.json_fields import tool
from toolrest.data.formats.rlla_text import history, listed_tools
from toolrest.data.overlap import Questions
from toolrest.data.rows import BadRow
from toolrest.data.sample import Sample
from toolrest.data.sources import Read, Source, read_rows
from toolrest.dialects import ToolCall, get_dialect

KINDS = {
    "unreadable": "the row, its ground truth or a call does not parse",
    "too long": "the prompt has more tokens than allowed",
    "unlisted tool": "a right call is of a tool that the prompt does not list",
    "cut apart": "brackets or quotes of a call do not close: it was split at commas",
    "wrong type": "a right value is not of the type that the tool declares",
    "duplicate": "the same prompt and ground truth again",
    "overlap": "the question is also in another set",
}
"""What is looked for."""
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("string", "str"), (str,)),
    **dict.fromkeys(("integer", "int"), (int,)),
    **dict.fromkeys(("number", "float"), (int, float)),
    **dict.fromkeys(("boolean", "bool"), (bool,)),
    **dict.fromkeys(("array", "list"), (list,)),
    **dict.fromkeys(("object", "dict"), (dict,)),
}
_PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass
class Report:
    """What was found in one source."""

    source: str
    """Its path."""
    rows: int = 0
    """Rows that were read."""
    samples: int = 0
    """Samples that they give."""
    findings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """(row, detail) by kind, in order."""
    lengths: list[int] = field(default_factory=list)
    """Prompt tokens of each sample, where a tokenizer is known."""

    def add(self, kind: str, row: int | str, detail: str) -> None:
        """Note a finding."""
        self.findings.setdefault(kind, []).append((str(row), detail))

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
    length: Callable[[Sample], int] | None = None,
    max_prompt_tokens: int | None = None,
    against: Questions | None = None,
    on_row: Callable[[int], object] = lambda count: None,
) -> list[Report]:
    """Look through every source.

    A question counts as overlapping where another source given here, or `against`, has it.

    Args:
        length: the prompt tokens of a sample under the policy's tokenizer; None: not measured.
        max_prompt_tokens: longer prompts are noted.
        against: questions of benchmarks.
        on_row: called with the number of rows so far.

    Raises:
        InputError: a source cannot be read.
    """
    seen: dict[bytes, str] = {}
    earlier: list[Questions] = [] if against is None else [against]
    reports = []
    done = 0
    for source in sources:
        report, own = Report(source.path), Questions(())
        for read in read_rows(source, rendering, seed):
            done += 1
            report.rows += 1
            on_row(done)
            _check_row(read, report, seen, rendering)
            if length is not None:
                _check_lengths(read, report, length, max_prompt_tokens)
            question = _question(read)
            if question:
                _check_overlap(read.number, question, earlier, report)
                own.add(f"{source.path} row {read.number}", question)
        earlier.append(own)
        reports.append(report)
    return reports


def questions_of(source: Source, rendering: Rendering, seed: int) -> Iterator[tuple[str, str]]:
    """(label, all that the user says) of every row of a source that can be read.

    Raises:
        InputError: the source cannot be read.
    """
    for read in read_rows(source, rendering, seed):
        question = _question(read)
        if question:
            yield f"{source.path} row {read.number}", question


def _check_row(read: Read, report: Report, seen: dict[bytes, str], rendering: Rendering) -> None:
    if read.bad is not None:
        report.add("unreadable", read.number, str(read.bad))
        return
    report.samples += len(read.samples)
    for sample in read.samples:
        said = json.dumps([sample.prompt, sample.ground_truth], default=str).encode()
        key = hashlib.blake2b(said, digest_size=16).digest()
        here = f"{report.source} row {sample.identity}"
        if key in seen:
            report.add("duplicate", sample.identity, f"of {seen[key]}")
        else:
            seen[key] = here
        calls = get_dialect(rendering.dialect).parse(sample.ground_truth).calls
        tools = {each.name: each for each in _tools(read, sample)}
        for kind, detail in _problems(calls, tools):
            report.add(kind, sample.identity, detail)


def _problems(calls: Sequence[ToolCall], tools: dict[str, Tool]) -> Iterator[tuple[str, str]]:
    unlisted = [call.name for call in calls if call.name not in tools]
    torn = [text for call in calls for text in _texts(call, bool(unlisted)) if not _closes(text)]
    if torn:
        yield "cut apart", f"{torn[0]!r:.60}"
    elif unlisted:
        yield "unlisted tool", ", ".join(map(repr, unlisted))
    for call in calls:
        listed = tools.get(call.name)
        properties = (listed.parameters.get("properties") or {}) if listed else {}
        for name, value in call.parameters.items():
            declared = properties.get(name)
            kind = declared.get("type") if isinstance(declared, dict) else None
            if isinstance(kind, str) and not _fits(value, kind):
                yield "wrong type", f"{call.name}.{name}: {kind} is declared, {value!r:.60}"


def _texts(call: ToolCall, every: bool) -> Iterator[str]:
    """Names, and values that open with a bracket; every text where a tool is unlisted anyway."""
    yield call.name
    yield from call.parameters
    for value in call.parameters.values():
        if isinstance(value, str) and (every or value.startswith(("[", "{"))):
            yield value


def _closes(text: str) -> bool:
    """Whether brackets and double quotes come in pairs."""
    opened: list[str] = []
    for character in text:
        if character in _PAIRS.values():
            opened.append(character)
        elif character in _PAIRS and (not opened or opened.pop() != _PAIRS[character]):
            return False
    return not opened and text.count('"') % 2 == 0


def _fits(value: Any, declared: str) -> bool:
    """Whether a value is of a declared type; a type that is not known fits all, None too."""
    kinds = _TYPES.get(declared.split(",")[0].strip().lower())
    if kinds is None or value is None:
        return True
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds)


def _tools(read: Read, sample: Sample) -> tuple[Tool, ...]:
    if read.record is not None:
        return read.record.dialogue.tools
    if sample.tools is not None:
        return tuple(_safe_tools(sample.tools))
    return listed_tools(str(sample.prompt[0].get("content", ""))) if sample.prompt else ()


def _safe_tools(listed: Sequence[dict[str, Any]]) -> Iterator[Tool]:
    for each in listed:
        try:
            yield tool(each)
        except BadRow:
            continue


def _question(read: Read) -> str:
    """All that the user said."""
    if read.record is not None:
        turns = read.record.dialogue.turns
    elif read.samples:
        turns = history(str(read.samples[-1].prompt[-1].get("content") or ""))
    else:
        return ""
    return "\n".join(
        turn.text for turn in turns if isinstance(turn, UserTurn) and turn.text != ONE_CALL
    )


def _check_lengths(
    read: Read, report: Report, length: Callable[[Sample], int], most: int | None
) -> None:
    for sample in read.samples:
        tokens = length(sample)
        report.lengths.append(tokens)
        if most is not None and tokens > most:
            report.add("too long", sample.identity, f"{tokens} tokens")


def _check_overlap(
    number: int, question: str, earlier: Sequence[Questions], report: Report
) -> None:
    for index in earlier:
        found = index.find(question)
        if found is not None:
            report.add("overlap", number, f"{found[1]} to {found[0]}")
            return

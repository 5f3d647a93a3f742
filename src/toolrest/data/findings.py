"""Checks rows one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.dialogue import Tool, UserTurn
from toolrest.data.formats.apibank import ONE_CALL
from toolrest.data.formats.json_fields import by_name, tool
from toolrest.data.formats.rlla_text import history, listed_tools
from toolrest.data.overlap import Questions
from toolrest.data.prompts import TemplateRefusal
from toolrest.data.rows import BadRow
from toolrest.data.sample import Sample
from toolrest.data.schema import admits, declared, named, required
from toolrest.data.sources import Read
from toolrest.data.wording import plain_tools

UNREADABLE = "unreadable"
KINDS = {
    UNREADABLE: "the row, its ground truth or a call does not parse",
    "refused by the template": "the policy's chat template does not write the prompt",
    "too long": "the prompt has more tokens than allowed",
    "unlisted tool": "a right call is of a tool that the prompt does not list",
    "cut apart": "brackets or quotes of a call do not close: it was split at commas",
    "wrong type": "a right value is not of the type that the tool declares",
    "missing parameter": "a right call lacks what the tool requires",
    "unknown parameter": "a right call gives what the tool does not declare",
    "duplicate": "the same prompt and ground truth again",
    "overlap": "the question is also in another set",
}
"""The kinds of defects."""
REFUSED = "refused by the template"
_PAIRS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True)
class Finding:
    """One defect of a row."""

    kind: str
    """One of `KINDS`."""
    detail: str
    """What it is, here."""
    sample: int | None = None
    """Which of the row's samples has it; None: the row as a whole."""


@dataclass(frozen=True)
class Limits:
    """What is looked for beyond what a row shows by itself."""

    length: Callable[[Sample], int] | None = None
    """The prompt tokens of a sample under the policy's tokenizer, which may raise
    `TemplateRefusal`; None: not measured.
    """
    max_prompt_tokens: int | None = None
    """Longer prompts are found; None: none is."""
    against: Questions | None = None
    """Questions of benchmarks; None: of none."""


NO_LIMITS = Limits()


@dataclass
class Checker:
    """Checks rows and remembers them, to find duplicates and overlaps."""

    dialect: str
    """That ground truths are written in."""
    limits: Limits = NO_LIMITS
    """What else is looked for."""
    lengths: list[int] = field(default_factory=list)
    """Prompt tokens of each sample so far that the template writes."""
    _seen: dict[bytes, str] = field(default_factory=dict)
    _earlier: list[Questions] = field(default_factory=list)
    _own: Questions = field(default_factory=lambda: Questions(()))

    def begin(self) -> None:
        """Start a new source: a question of an earlier one now counts as an overlap."""
        self._earlier.append(self._own)
        self._own = Questions(())
        self.lengths = []

    def look(self, read: Read, path: str) -> list[Finding]:
        """The defects of a row."""
        if read.bad is not None:
            return [Finding(UNREADABLE, str(read.bad))]
        found = []
        for number, sample in enumerate(read.samples):
            found += [
                Finding(kind, detail, number)
                for kind, detail in (
                    *self._length(sample),
                    *self._twice(sample, f"{path} row {read.row(number)}"),
                    *self._calls(read, sample),
                )
            ]
        asked = question(read)
        if asked:
            found += self._overlap(asked)
            self._own.add(f"{path} row {read.number}", asked)
        return found

    def _length(self, sample: Sample) -> Iterator[tuple[str, str]]:
        if self.limits.length is None:
            return
        try:
            tokens = self.limits.length(sample)
        except TemplateRefusal as refused:
            yield REFUSED, str(refused)
            return
        self.lengths.append(tokens)
        longest = self.limits.max_prompt_tokens
        if longest is not None and tokens > longest:
            yield "too long", f"{tokens} tokens"

    def _twice(self, sample: Sample, here: str) -> Iterator[tuple[str, str]]:
        said = json.dumps([sample.prompt, sample.tools, sample.ground_truth], default=str).encode()
        key = hashlib.blake2b(said, digest_size=16).digest()
        first = self._seen.setdefault(key, here)
        if first != here:
            yield "duplicate", f"of {first}"

    def _calls(self, read: Read, sample: Sample) -> Iterator[tuple[str, str]]:
        calls = get_dialect(self.dialect).parse(sample.ground_truth, sample.declared).calls
        tools = by_name(_tools(read, sample))
        yield from problems(calls, tools, "" if tools else _own_words(read, sample))

    def _overlap(self, asked: str) -> list[Finding]:
        against = self.limits.against
        for index in (*([against] if against else ()), *self._earlier):
            found = index.find(asked)
            if found is not None:
                return [Finding("overlap", f"{found[1]} to {found[0]}")]
        return []


def problems(
    calls: Sequence[ToolCall], tools: dict[str, Tool], words: str = ""
) -> Iterator[tuple[str, str]]:
    """(kind, detail) of each defect of the ground truth's calls.

    Args:
        words: text of a prompt that may list tools in a way of its own: what it names is listed.
    """
    names = [call.name for call in calls]
    unlisted = [name for name in names if name not in tools and name not in words]
    torn = [text for call in calls for text in _texts(call, bool(unlisted)) if not _closes(text)]
    if torn:
        yield "cut apart", f"{torn[0]!r:.60}"
    elif unlisted:
        yield "unlisted tool", ", ".join(map(repr, unlisted))
    for call in calls:
        schema = tools[call.name].parameters if call.name in tools else {}
        if call.name in tools and not torn:
            yield from _names(call, schema)
        for name, value in call.parameters.items():
            said, _ = declared(schema, schema, name)
            if value is None or not said:  # None says that nothing is given, whatever the type
                continue
            if not any(admits(value, each, schema) for each in said):
                yield "wrong type", f"{call.name}.{name}: {_kind(said)} is declared, {value!r:.60}"


def _names(call: ToolCall, schema: dict[str, object]) -> Iterator[tuple[str, str]]:
    """(kind, detail) of parameters that are missing in a call, or are none of its tool's."""
    missing = [name for name in required(schema, schema) if name not in call.parameters]
    if missing:
        yield "missing parameter", f"{call.name}: {', '.join(missing)}"
    known = named(schema, schema)
    unknown = [name for name in call.parameters if known is not None and name not in known]
    if unknown:
        yield "unknown parameter", f"{call.name}: {', '.join(map(repr, unknown)):.60}"


def _kind(said: list[object]) -> str:
    """A schema's type in words."""
    kinds = [each.get("type") if isinstance(each, dict) else None for each in said]
    known = [kind if isinstance(kind, str) else json.dumps(kind) for kind in kinds if kind]
    return f"{' or '.join(known) or 'another type':.60}"


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


def _tools(read: Read, sample: Sample) -> tuple[Tool, ...]:
    if read.record is not None:
        return read.record.dialogue.tools
    if sample.tools is not None:
        return tuple(_safe_tools(sample.tools))
    first = str(sample.prompt[0].get("content") or "") if sample.prompt else ""
    return listed_tools(first) or tuple(_safe_tools(plain_tools(first)))


def _own_words(read: Read, sample: Sample) -> str:
    """The prompt's text where it may be somebody's own; a row that we word lists what it has."""
    if read.record is not None and not read.record.as_it_is:
        return ""
    return "\n".join(str(message.get("content") or "") for message in sample.prompt)


def _safe_tools(listed: Sequence[dict[str, object]]) -> Iterator[Tool]:
    for each in listed:
        try:
            yield tool(each)
        except BadRow:
            continue


def question(read: Read) -> str:
    """All user messages of a row as one text."""
    if read.record is not None:
        turns = read.record.dialogue.turns
    elif read.samples:
        turns = history(str(read.samples[-1].prompt[-1].get("content") or ""))
    else:
        return ""
    return "\n".join(
        turn.text for turn in turns if isinstance(turn, UserTurn) and turn.text != ONE_CALL
    )

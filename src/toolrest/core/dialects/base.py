"""The base class of dialects, and the parsed reply that they return."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

from toolrest.core.dialects.types import Tools
from toolrest.core.regions import SCAFFOLDING, Region, spans_after
from toolrest.errors import InputError, short

SPACES = " \t\r\n"
"""The white space that dialects strip."""


@dataclass(frozen=True)
class ToolCall:
    """One call of one tool."""

    name: str
    """The tool's name, as the dialect writes it."""
    parameters: dict[str, Any]
    """JSON values by parameter name."""


class Block(StrEnum):
    """The parts that a reply is made of."""

    THOUGHT = "thought"
    """Reasoning."""
    CALLS = "calls"
    """One or more tool calls."""
    RESPONSE = "response"
    """The answer to the user."""


class ParseStatus(StrEnum):
    """How far a reply could be read; the first defect counts."""

    OK = "ok"
    """Every part was recognised."""
    EMPTY = "empty"
    """Nothing but white space."""
    STRAY_TEXT = "stray_text"
    """Text that is in no block."""
    UNCLOSED = "unclosed"
    """A block does not end: the reply was truncated, or a closing mark is missing."""
    BAD_CALL = "bad_call"
    """A call is not valid JSON, or lacks a name or parameters."""


@dataclass(frozen=True)
class Span:
    """A region of a reply's text."""

    region: Region
    """Scaffolding counts as FORMAT."""
    start: int
    """First character."""
    end: int
    """One past the last character."""


@dataclass(slots=True)
class Scan:
    """The result of scanning a text. Not frozen, since freezing costs a fifth of the scan."""

    spans: Sequence[tuple[int, int, int]]
    """(code, start, end), in order, disjoint; what is in none of them is OTHER."""
    blocks: tuple[Block, ...]
    """The blocks in the order in which they stand."""
    thought: str | None
    """Text of the first thought."""
    calls: tuple[ToolCall, ...]
    """Every call that could be read."""
    response: str | None
    """Text of the first response."""
    status: ParseStatus
    """The first defect, or OK."""
    position: int | None
    """Where the first defect is."""
    well_formed: bool
    """Whether every block is closed and nothing but white space stands between blocks."""
    calls_intact: bool
    """Whether every block of calls is closed and every call in it could be read."""


@dataclass(frozen=True)
class Reply:
    """A model's parsed reply. Any text parses: defects are in `status`, and nothing raises."""

    thought: str | None
    """The reasoning, without surrounding white space; None where there is no block for it."""
    calls: tuple[ToolCall, ...]
    """Every call that could be read, in order."""
    response: str | None
    """The final response, without surrounding white space; None where there is no block for it."""
    status: ParseStatus
    """The first defect, or OK."""
    position: int | None
    """The character at which the first defect is, None where there is none."""
    well_formed: bool
    """Whether every block is closed and nothing but white space stands between blocks."""
    calls_intact: bool
    """Whether every block of calls is closed and every call in it could be read."""
    blocks: tuple[Block, ...]
    """The blocks in the order in which they stand."""
    spans: tuple[Span, ...]
    """Every character of the text is in exactly one span."""


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip(SPACES)


def _same(wanted: Any, read: Any) -> bool:
    """Whether two JSON values are equal in value and type; True is not 1, key order is free."""
    if isinstance(wanted, ToolCall) and isinstance(read, ToolCall):
        return wanted.name == read.name and _same(wanted.parameters, read.parameters)
    if isinstance(wanted, dict) and isinstance(read, dict):
        return wanted.keys() == read.keys() and all(_same(wanted[k], read[k]) for k in wanted)
    if isinstance(wanted, list | tuple) and type(wanted) is type(read):
        return len(wanted) == len(read) and all(map(_same, wanted, read))
    return wanted == read and repr(wanted) == repr(read)


class Dialect(ABC):
    """How a model writes a thought, tool calls and a response."""

    name: ClassVar[str]
    """The name that `get_dialect` knows it by."""
    special_tokens: ClassVar[tuple[str, ...]] = ()
    """Marks of the dialect that are special tokens in the vocabularies of its models, so that a
    `Vocabulary` has to be told that they are text."""
    stop_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens of its models that end a turn, besides those that the tokenizer and the generation
    configuration name."""
    calls_end: ClassVar[str | None] = None
    """The one of these that ends a turn with calls, where it is another than after a response."""
    thought_marks: ClassVar[tuple[str, str]] = ("<think>", "</think>")
    """What begins and what ends a thought."""
    reads_types: ClassVar[bool] = False
    """Whether the text of a value does not say its type, so that `scan` needs the tools."""

    @abstractmethod
    def scan(self, text: str, tools: Tools = None) -> Scan:
        """Parse a turn in one pass and linear time. Must not raise on any text.

        Args:
            text: the whole turn; what the prompt has written of it already stands before the reply.
            tools: those that could be called, in OpenAI's form or bare, for the types that they
                declare. None: not known. Given only where `reads_types` is set, so that a dialect
                that has no use for it can leave the argument out.
        """

    def read(self, text: str, tools: Tools = None) -> Scan:
        """As `scan`, but the spans may be empty: all that a reward needs.

        A dialect whose usual reply can be read faster so overrides it.
        """
        return self.scan(text, tools) if self.reads_types else self.scan(text)

    def opening(self, prompt: str) -> str:
        """The part of the reply that the prompt has written already, such as an opened thought.

        The templates of many models end the prompt with `<think>`, or with an empty thought where
        they are told not to think. Empty for other prompts.
        """
        opens, closes = self.thought_marks
        before = prompt.rstrip(SPACES)
        if before.endswith(closes):
            outside = before.removesuffix(closes)
            inside = outside.rstrip(SPACES)
            if not inside.endswith(opens):
                return prompt[len(outside) :]
            before = inside
        return prompt[len(before) - len(opens) :] if before.endswith(opens) else ""

    def continued(self, turn: str, opening: str, tools: Tools = None) -> str:
        """The turn without the part that the prompt has written already (`opening`).

        A turn without a thought gets an empty one where the prompt has opened it; one with a
        thought loses it where the prompt has closed it.

        Args:
            turn: a reply that `parse` can read.
            tools: as in `scan`.
        """
        if not opening:
            return turn
        reply = self.parse(turn, tools)
        closed = self.thought_marks[1] in opening
        thought = None if closed else reply.thought or ""
        text = self.write(thought=thought, calls=reply.calls, response=reply.response)
        if closed:
            return text
        text = text.lstrip(SPACES)
        if text.startswith(opening):
            return text.removeprefix(opening)
        return text.removeprefix(opening.rstrip(SPACES)).lstrip(SPACES)

    def call_id(self, name: str, number: int) -> str:
        """The id that chat messages give a call: nine letters and digits, as Mistral's templates
        ask for. Some templates write nothing else of a call's name.

        Args:
            name: the tool's.
            number: how many calls the dialogue has before.
        """
        return f"call{number:05d}"

    def without_thought(self, text: str) -> str:
        """The same reply with an empty thought, which earns the same; the text itself where that
        is not certain. The responses of a group often differ in nothing else.
        """
        return text

    @abstractmethod
    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        """The text of a reply. `parse` may not read the same parts back; `render` checks that."""

    def render(
        self,
        *,
        thought: str | None,
        calls: Sequence[ToolCall],
        response: str | None,
        tools: Tools = None,
    ) -> str:
        """The text of a reply; `parse` reads the same parts back, apart from outer white space.

        Args:
            tools: as in `scan`.

        Raises:
            InputError: the dialect cannot express it, such as a thought that holds the mark that
                ends a thought.
        """
        text = self.write(thought=thought, calls=calls, response=response)
        reply = self.parse(text, tools)
        for part, wanted, read in (
            ("thought", _stripped(thought), reply.thought),
            ("calls", tuple(calls), reply.calls),
            ("response", _stripped(response), reply.response),
        ):
            if not _same(wanted, read):
                raise InputError(
                    f"the dialect {self.name} cannot express this {part}: "
                    f"{short(wanted)} would be read as {short(read)}"
                )
        return text

    def parse(self, text: str, tools: Tools = None, *, opening: str = "") -> Reply:
        """Parse a reply. A defect is a `status`, never an exception.

        Args:
            text: what the policy wrote.
            tools: as in `scan`.
            opening: what the prompt has written of the reply already; see `opening`.
        """
        turn = opening + text
        scan = self.scan(turn, tools) if self.reads_types else self.scan(turn)
        if opening:
            position = scan.position
            scan = replace(
                scan,
                spans=spans_after(scan.spans, len(opening)),
                position=None if position is None else max(0, position - len(opening)),
            )
        spans: list[Span] = []
        at = 0
        for code, start, end in [*scan.spans, (int(Region.OTHER), len(text), len(text))]:
            if start > at:
                spans.append(Span(Region.OTHER, at, start))
            if end > start:
                region = Region.FORMAT if code == SCAFFOLDING else Region(code)
                spans.append(Span(region, start, end))
            at = end
        return Reply(
            thought=scan.thought,
            calls=scan.calls,
            response=scan.response,
            status=scan.status,
            position=scan.position,
            well_formed=scan.well_formed,
            calls_intact=scan.calls_intact,
            blocks=scan.blocks,
            spans=tuple(spans),
        )

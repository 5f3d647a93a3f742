"""The base of the dialects' scanners: one pass over a text, and what it found so far."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

from toolrest.core.dialects.base import SPACES, Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import SPACE, ScannedCall, scan_object, skip, value_end
from toolrest.core.dialects.types import Tools
from toolrest.core.regions import SCAFFOLDING, Region

FORMAT = int(Region.FORMAT)
"""A plain int: three times as fast as the enum member when regions are filled in."""
_REASONING, _RESPONSE = int(Region.REASONING), int(Region.RESPONSE)
_PARAMETERS = int(Region.PARAMETERS)
_USUAL_SPACE = ("\n", " ", "\n\n")


def either(mark: str) -> str:
    """A pattern that matches a mark as text, and as its UTF-8 bytes in latin-1 (for labelling)."""
    return "".join(
        re.escape(c) if c.isascii() else f"(?:{c}|{re.escape(c.encode().decode('latin-1'))})"
        for c in mark
    )


class Scanning:
    """State of a single-pass scan of `text`.

    A dialect's scanner derives from it, writes its findings in order in `run` and ends with
    `result`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: list[tuple[int, int, int]] = []
        self.blocks: list[Block] = []
        self.thought: str | None = None
        self.response: str | None = None
        self.calls: list[ToolCall] = []
        self.status = ParseStatus.OK
        self.position: int | None = None
        self.well_formed = True
        self.calls_intact = True
        self._absent: set[str] | None = None

    def run(self) -> Scan:
        """Scan the whole text; a dialect's own."""
        raise NotImplementedError

    def turn(
        self, start: int, opening: re.Pattern[str], block: Callable[[re.Match[str]], int]
    ) -> Scan:
        """Scan text to the user from `start` on, and blocks in it.

        Args:
            opening: what opens a block, marked as format.
            block: scans a block from the match of its opening; gives its end.
        """
        at = start
        while (tag := opening.search(self.text, at)) is not None:
            self.free_response(at, tag.start())
            self.mark(FORMAT, tag.start(), tag.end())
            at = block(tag)
        self.free_response(at, len(self.text))
        return self.result()

    def find(self, mark: str, at: int) -> int:
        """Index of the first `mark` from `at` on, or -1.

        Remembers what is not there any more: a mark that many blocks lack is looked for once.
        """
        if self._absent is not None and mark in self._absent:
            return -1
        found = self.text.find(mark, at)
        if found < 0:
            self._absent = {mark, *(self._absent or ())}
        return found

    def result(self) -> Scan:
        """The result of the whole scan."""
        if not self.blocks and self.status is ParseStatus.OK:
            self.status, self.position = ParseStatus.EMPTY, 0
        return Scan(
            spans=self.spans,
            blocks=tuple(self.blocks),
            thought=self.thought,
            calls=tuple(self.calls),
            response=self.response,
            status=self.status,
            position=self.position,
            well_formed=self.well_formed,
            calls_intact=self.calls_intact,
        )

    def mark(self, code: int, start: int, end: int) -> None:
        """Add a span with a `Region` or SCAFFOLDING as its code."""
        if end > start:
            self.spans.append((code, start, end))

    def defect(self, status: ParseStatus, position: int) -> None:
        """Record a defect; the reply reports the first one."""
        if status is not ParseStatus.BAD_CALL:
            self.well_formed = False
        if self.status is ParseStatus.OK:
            self.status, self.position = status, position

    def call_defect(self, status: ParseStatus, position: int) -> None:
        """Record a defect inside a call."""
        self.calls_intact = False
        self.defect(status, position)

    def skip(self, at: int) -> int:
        """The index after the white space at `at`."""
        return skip(self.text, at)

    def blank(self, start: int, end: int) -> int:
        """Mark the white space from `start` as scaffolding; return its end, at most `end`."""
        space = SPACE.match(self.text, start, end)
        after = space.end() if space else start
        self.mark(SCAFFOLDING, start, after)
        return after

    def usual_space(self, start: int, end: int) -> bool:
        """Whether nothing or the usual white space is there, marked: the quick way for most."""
        if start == end:
            return True
        usual = self.text[start:end] in _USUAL_SPACE
        if usual:
            self.spans.append((SCAFFOLDING, start, end))
        return usual

    def stray(self, start: int, end: int) -> None:
        """Mark the text between two blocks: white space is scaffolding, the rest a defect."""
        if not self.usual_space(start, end):
            space = SPACE.match(self.text, start, end)
            after = space.end() if space else start
            if after == end:
                self.mark(SCAFFOLDING, start, end)
            else:
                self.defect(ParseStatus.STRAY_TEXT, after)

    def leading_thought(self, opening: str, closing: str, following: re.Pattern[str] | None) -> int:
        """Scan a thought at the text's start; return its end, closing mark included.

        A prompt may hold the opening mark already: text before a closing mark that no other mark
        precedes is a thought. Without a closing mark the thought goes on to the next block that
        certainly is one. A closing mark within a value of such a block is none.

        Args:
            following: the start of a block that certainly is one, up to the bracket of its JSON
                where it has one.
        """
        text = self.text
        begin = self.blank(0, len(text))
        opened = text.startswith(opening, begin)
        start = begin + len(opening) if opened else 0
        end = self.closing(closing, start, following)
        after = end + len(closing)
        next_block = following.search(text, start) if following else None
        if end < 0 or (not opened and next_block is not None and next_block.start() < end):
            if not opened:
                return begin
            self.defect(ParseStatus.UNCLOSED, start)
            end = after = next_block.start() if next_block else len(text)
        if not opened:
            self.spans.clear()
        self.open_block(Block.THOUGHT)
        self.mark(FORMAT, begin, start)
        self.thought_text(start, end)
        self.mark(FORMAT, end, after)
        return after

    def closing(self, mark: str, start: int, following: re.Pattern[str] | None) -> int:
        """Where the mark that ends a text stands first, from `start` on, outside the values of the
        calls that the text may mention or that may come before it; -1 where it does not.
        """
        at, end = start, self.find(mark, start)
        while (
            end >= 0
            and following is not None
            and (call := following.search(self.text, at, end)) is not None
        ):
            stop, said = self.value_at(call.end() - 1)
            at = max(stop, call.end())
            if said and end < stop:
                end = self.find(mark, stop)
        return end

    def value_at(self, start: int) -> tuple[int, bool]:
        """Where the value of a call that begins at `start` ends or breaks; and whether all up to
        there is said in it.
        """
        return value_end(self.text, start)

    def open_block(self, block: Block) -> None:
        """Start a block. Consecutive calls are one block."""
        if block is not Block.CALLS or self.blocks[-1:] != [Block.CALLS]:
            self.blocks.append(block)

    def thought_text(self, start: int, end: int) -> None:
        """Mark a span as the thought's text."""
        if self.thought is None:
            self.thought = self.text[start:end].strip(SPACES)
        self.mark(_REASONING, start, end)

    def response_text(self, start: int, end: int) -> None:
        """Mark a span as the response's text."""
        if self.response is None:
            self.response = self.text[start:end].strip(SPACES)
        self.mark(_RESPONSE, start, end)

    def free_response(self, start: int, end: int) -> None:
        """Text in no block, where the dialect writes its response so; white space around it is
        scaffolding.
        """
        begin = self.blank(start, end)
        if begin == end:
            return
        stop = begin + len(self.text[begin:end].rstrip(SPACES))
        self.open_block(Block.RESPONSE)
        self.response_text(begin, stop)
        self.mark(SCAFFOLDING, stop, end)

    def take_call(self, scanned: ScannedCall, start: int, block: int) -> None:
        """Add a scanned call that starts at `start`, in the block that starts at `block`."""
        self.spans.extend(scanned.spans)
        if scanned.call is not None:
            self.calls.append(scanned.call)
        elif scanned.closed:
            self.call_defect(ParseStatus.BAD_CALL, start)
        elif scanned.end == len(self.text):
            self.call_defect(ParseStatus.UNCLOSED, block)
        else:
            self.call_defect(ParseStatus.BAD_CALL, scanned.end)

    def end_of_calls(self, at: int, block: int, marks: re.Pattern[str], closing: str) -> int:
        """Scan the end of a block of calls from `at`; return where the next part starts.

        Args:
            block: where the block starts.
            marks: the closing mark, and those that show that it is missing.
            closing: the closing mark.
        """
        mark = marks.search(self.text, at)
        until = mark.start() if mark else len(self.text)
        self.junk(at, until)
        if mark is None or mark[0] != closing:
            self.call_defect(ParseStatus.UNCLOSED, block)
            return until
        self.mark(FORMAT, until, mark.end())
        return mark.end()

    def parameters_object(self, start: int, block: int) -> tuple[dict[str, Any] | None, int]:
        """A call's parameters as a JSON object of their own, None where they are none; and where
        they end or broke. `block` is where the block of the call starts.
        """
        begin = self.blank(start, len(self.text))
        found, end = scan_object(self.text, begin)
        self.mark(_PARAMETERS, begin, end)
        if found is None:
            self.broken(end, block)
        return found, end

    def broken(self, at: int, block: int) -> int:
        """Record that a call in the block at `block` breaks at `at`; return `at`."""
        if at == len(self.text):
            self.call_defect(ParseStatus.UNCLOSED, block)
        else:
            self.call_defect(ParseStatus.BAD_CALL, at)
        return at

    def junk(self, start: int, end: int) -> None:
        """Mark the text between two calls, where only white space should be."""
        if not self.usual_space(start, end):
            after = self.blank(start, end)
            if after < end:
                self.call_defect(ParseStatus.BAD_CALL, after)


def write_thought(thought: str | None) -> str:
    """A thought between `<think>` tags, as Qwen3's chat template writes it."""
    return "" if thought is None else f"<think>\n{thought}\n</think>\n\n"


def empty_thought(
    text: str,
    opening: str = "<think>",
    closing: str = "</think>",
    *,
    following: re.Pattern[str] | None = None,
) -> str:
    """A text that starts with a thought, with nothing in it; any other text as it is, and one whose
    thought mentions a call, which may hold the mark that seems to end the thought.
    """
    begin = len(text) - len(text.lstrip(SPACES))
    end = text.find(closing) if text.startswith(opening, begin) else -1
    if end < 0 or (following is not None and following.search(text, 0, end) is not None):
        return text
    return opening + text[end:]


class ScannedDialect(Dialect):
    """A dialect that a `Scanning` of its own reads, and whose turns may begin with a thought."""

    scanner: ClassVar[type[Scanning]]
    """What reads a turn."""
    certain_call: ClassVar[re.Pattern[str] | None] = None
    """The start of a call that certainly is one, which a thought may mention."""

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return self.scanner(text).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text, *self.thought_marks, following=self.certain_call)

"""Calls between special tokens: a section of calls, each a head and its parameters as JSON.

    <section><call>head{"parameter": "value"}</call><call>..</call></section>

What the head holds is a dialect's own: its scanner derives from `TokenCalls` and reads it in
`call`.
"""

import re
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from toolrest.core.dialects.base import Block, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.scanning import FORMAT, Scanning, either


@dataclass(frozen=True)
class Marks:
    """The special tokens of a dialect."""

    section: str
    """Begins the section."""
    call: str
    """Begins a call."""
    end_call: str
    """Pattern of a call's end."""
    end_section: str
    """Ends the section."""

    @cached_property
    def opening(self) -> re.Pattern[str]:
        """Pattern of a section's start, or of a call without a section."""
        return re.compile(f"{either(self.section)}|(?={either(self.call)})")

    @cached_property
    def step(self) -> re.Pattern[str]:
        """Pattern of the next part of a section; a named group tells which."""
        return re.compile(
            f"(?P<call>{either(self.call)})|(?P<end_call>{either(self.end_call)})"
            f"|(?P<end_section>{either(self.end_section)})|(?P<section>{either(self.section)})"
        )

    @cached_property
    def end(self) -> re.Pattern[str]:
        """Pattern of a call's end."""
        return re.compile(either(self.end_call))

    @cached_property
    def certain(self) -> re.Pattern[str]:
        """Pattern of a section's start up to the parameters of its first call."""
        call = rf"{either(self.call)}[^{{}}]{{0,300}}+\{{"
        return re.compile(rf"{either(self.section)}(?:[ \t\r\n]*+{call})?|{call}")


class TokenCalls(Scanning):
    """Scans a thought, text to the user and sections of calls."""

    marks: ClassVar[Marks]

    @abstractmethod
    def call(self, start: int, block: int) -> int:
        """Scan one call after its mark, in the section at `block`; return its end."""

    def run(self) -> Scan:
        start = self.leading_thought("<think>", "</think>", self.marks.certain)
        return self.turn(start, self.marks.opening, self.section)

    def section(self, opening: re.Match[str]) -> int:
        """Scan the calls of a section; return the section's end."""
        self.open_block(Block.CALLS)
        start, whole = opening.end(), bool(opening[0])
        at, calls, ended = start, 0, False
        while True:
            step = self.marks.step.search(self.text, at)
            until = step.start() if step else len(self.text)
            self.junk(at, until)
            if step is None and whole and ended and self.ends_alone(calls):
                return until
            if step is None or step.lastgroup == "section":
                self.call_defect(ParseStatus.UNCLOSED, start)
                return until
            self.mark(FORMAT, until, step.end())
            at = step.end()
            if step.lastgroup == "call":
                calls += 1
                at = self.call(at, start)
                ended = self.end_marked(at)
            elif step.lastgroup == "end_call":
                self.call_defect(ParseStatus.BAD_CALL, until)
            else:
                if not (whole and calls):
                    self.call_defect(ParseStatus.BAD_CALL, start)
                return at

    def ends_alone(self, calls: int) -> bool:
        """Whether a section of so many whole calls may end with the text, without its mark."""
        return False

    def end_marked(self, at: int) -> bool:
        """Whether the mark that ends a call stands before `at`."""
        mark = self.marks.end_call
        return self.text.endswith(mark, 0, at) or self.text.endswith(
            mark.encode().decode("latin-1"), 0, at
        )

    def parameters(self, name: str, start: int, block: int) -> int:
        """Scan a call's parameters and end mark; return where it ends or breaks.

        Args:
            name: the tool's; empty where the head names none.
        """
        if not name:
            self.call_defect(ParseStatus.BAD_CALL, start)
        found, at = self.parameters_object(start, block)
        if found is None:
            return at
        after = self.tail(at)
        end = None if after is None else self.marks.end.match(self.text, after)
        at = at if after is None else after
        if end is None:
            self.broken(at, block)
        else:
            self.mark(FORMAT, at, end.end())
        if name and (end is not None or at == len(self.text)):
            self.calls.append(ToolCall(name, found))
        return end.end() if end else at

    def tail(self, start: int) -> int | None:
        """Where what must stand between a call's parameters and its end ends, marked; None where it
        is not there.
        """
        return self.blank(start, len(self.text))

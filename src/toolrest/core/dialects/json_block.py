"""A block of calls, each one JSON object, between an opening and a closing tag."""

import re
from dataclasses import dataclass
from functools import cached_property

from toolrest.core.dialects.base import Block, ParseStatus
from toolrest.core.dialects.json_call import CallKeys, scan_call
from toolrest.core.dialects.scanning import FORMAT, Scanning


@dataclass(frozen=True)
class JsonBlock:
    """How a dialect writes the block."""

    keys: CallKeys
    """Of every call's object."""
    closing: str
    """The closing tag."""
    interrupts: tuple[str, ...]
    """Tags that show that the closing tag is missing."""
    most_calls: int | None
    """How many calls the block may hold; more are read and are a defect."""

    @cached_property
    def _stop(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, ("{", self.closing, *self.interrupts))))

    def scan(self, into: Scanning, start: int) -> int:
        """Scan the block whose opening tag ends at `start`; return the block's end.

        A call is read as JSON before the closing tag is looked for, so a tag in a string of it
        does not mislead.
        """
        text = into.text
        into.open_block(Block.CALLS)
        at, count = start, 0
        while True:
            stop = self._stop.search(text, at)
            until = stop.start() if stop else len(text)
            into.junk(at, until)
            if stop is None or stop[0] in self.interrupts:
                into.call_defect(ParseStatus.UNCLOSED, start)
                return until
            if stop[0] == self.closing:
                if count == 0:
                    into.call_defect(ParseStatus.BAD_CALL, start)
                into.mark(FORMAT, until, stop.end())
                return stop.end()
            scanned = scan_call(text, until, self.keys)
            count += 1
            if self.most_calls is not None and count > self.most_calls:
                into.call_defect(ParseStatus.BAD_CALL, until)
            into.take_call(scanned, until, start)
            at = scanned.end

import json
import re

from toolrest import Region, register_dialect
from toolrest.core.dialects import Block, Dialect, ParseStatus, ToolCall
from toolrest.core.dialects.scanning import Scanning

CALL = re.compile(r"CALL (\w+) (.*)\n?")


class Lines(Dialect):
    """CALL name {json}, one a line; all else is the response."""

    name = "lines"

    def scan(self, text):
        found, at = Scanning(text), 0
        for call in CALL.finditer(text):
            found.free_response(at, call.start())
            found.open_block(Block.CALLS)
            found.mark(Region.FORMAT, call.start(), call.start(1))
            found.mark(Region.NAME, *call.span(1))
            found.mark(Region.FORMAT, call.end(1), call.start(2))
            found.mark(Region.PARAMETERS, *call.span(2))
            found.mark(Region.FORMAT, call.end(2), call.end())
            try:
                found.calls.append(ToolCall(call[1], dict(json.loads(call[2]))))
            except (ValueError, TypeError, RecursionError):
                found.call_defect(ParseStatus.BAD_CALL, call.start(2))
            at = call.end()
        found.free_response(at, len(text))
        return found.result()

    def write(self, *, thought, calls, response):
        lines = [response] if response else []
        return "\n".join(lines + [f"CALL {c.name} {json.dumps(c.parameters)}" for c in calls])


register_dialect(Lines())

"""The dialect of Muse Glimmer (ATEM): messages to recipients, calls as nested tags.

    to=self<|message|>Thoughts<|eom|>
    <|start|>assistant to=tool_name<|message|><atem:function_calls>
    <atem:invoke name="tool_name">
    <atem:parameter name="parameter">value</atem:parameter>
    </atem:invoke>
    </atem:function_calls><|eot|>

without the line break between messages, and ` to=user<|message|>Text to the user<|eot|>`. The
prompt ends with `<|start|>assistant`, so a reply starts in its header. `<|eom|>` ends a message,
`<|eot|>` the last one; it may be missing at the text's end, where an engine has cut it off with the
turn. A message to a tool holds its call: the recipient is the tool's name, and its block repeats
it. The prompt lists a tool `f` as `f.*`, and models then call `f.f`, which is read as `f` where
that is a tool's name. See `toolrest.core.dialects.tagged` for the values.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.scanning import FORMAT, Scanning
from toolrest.core.dialects.tagged import invokes, write_invoke
from toolrest.core.dialects.types import Declared, Tools, declared
from toolrest.core.regions import SCAFFOLDING, Region

_OPENING, _CLOSING = "<atem:function_calls>", "</atem:function_calls>"
_PREFIX = "atem:"
_HEADER = re.compile(
    r"(?=[ \t]*+to=|<\|start\|>assistant|[ \t]*+<\|message\|>)"
    r"(?:<\|start\|>assistant)?[ \t]*+(?:to=([^ \t\r\n<]*+)[ \t]*+)?(<\|message\|>)?"
)
_MARKS = ("<|eom|>", "<|eot|>", "<|start|>", "<|message|>")
_MESSAGE_END = re.compile("|".join(map(re.escape, _MARKS)))
_ENDS = ("<|eom|>", "<|eot|>")


def _registered(name: str, tools: Declared) -> str:
    space, _, rest = name.partition(".")
    return space if space == rest and name not in tools and space in tools else name


_BLOCK = invokes(_OPENING, _CLOSING, _PREFIX, ends=_MARKS, named=_registered, name=SCAFFOLDING)


class _Scanner(Scanning):
    def messages(self, tools: Declared) -> Scan:
        text = self.text
        at = 0
        while at < len(text):
            header = _HEADER.match(text, at)
            if header is not None:
                at = self.message(header, tools)
                continue
            following = text.find("<|start|>", at + 1)
            stop = following if following >= 0 else len(text)
            self.stray(at, stop)
            at = stop
        return self.result()

    def message(self, header: re.Match[str], tools: Declared) -> int:
        """Scan one message; return its end."""
        recipient = "user" if header[1] is None else header[1]
        calls = recipient not in ("self", "user")
        at = header.start()
        if calls:
            self.mark(FORMAT, at, header.start(1))
            self.mark(Region.NAME, *header.span(1))
            at = header.end(1)
        self.mark(FORMAT, at, header.end())
        start = header.end()
        if header[2] is None:
            self.open_block(Block.CALLS if calls else _block(recipient))
            self.calls_intact &= not calls
            whole = start < len(self.text)
            self.defect(ParseStatus.STRAY_TEXT if whole else ParseStatus.UNCLOSED, start)
            return start
        if calls:
            return self.close(self.calls_to(recipient, start, tools))
        mark = _MESSAGE_END.search(self.text, start)
        end = mark.start() if mark else len(self.text)
        self.open_block(_block(recipient))
        if recipient == "self":
            self.thought_text(start, end)
        else:
            self.response_text(start, end)
        if (mark and mark[0] not in _ENDS) or (mark is None and recipient == "self"):
            self.defect(ParseStatus.UNCLOSED, start)
        return self.close(end)

    def close(self, end: int) -> int:
        """Mark the closing token at `end`, if any; return its end."""
        mark = _MESSAGE_END.match(self.text, end)
        if mark is None or mark[0] not in _ENDS:
            return end
        self.mark(FORMAT, end, mark.end())
        return mark.end()

    def calls_to(self, recipient: str, start: int, tools: Declared) -> int:
        """Scan the calls of a message; return where its text ends."""
        text = self.text
        begin, known = self.blank(start, len(text)), len(self.calls)
        at = begin
        opened = text.startswith(_OPENING, begin)
        if opened:
            self.mark(FORMAT, begin, begin + len(_OPENING))
            at = _BLOCK.scan(self, begin + len(_OPENING), tools)
            if any(call.name != _registered(recipient, tools) for call in self.calls[known:]):
                self.call_defect(ParseStatus.BAD_CALL, begin)
        mark = _MESSAGE_END.search(text, at)
        end = mark.start() if mark else len(text)
        if not opened:
            self.open_block(Block.CALLS)
            self.call_defect(ParseStatus.BAD_CALL if mark else ParseStatus.UNCLOSED, begin)
        self.junk(at, end)
        if mark and mark[0] not in _ENDS:
            self.call_defect(ParseStatus.UNCLOSED, start)
        return end


def _block(recipient: str) -> Block:
    return Block.THOUGHT if recipient == "self" else Block.RESPONSE


class Muse(Dialect):
    """Reads and writes ATEM messages."""

    name = "muse"
    special_tokens = _MARKS
    stop_tokens = ("<|eot|>", "<|end_of_text|>")
    reads_types = True

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text).messages(declared(tools))

    def opening(self, prompt: str) -> str:
        """Nothing: the template's prompt ends before the header of the first message."""
        return ""

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        messages = [] if thought is None else [f" to=self<|message|>{thought}"]
        messages += [] if response is None else [f" to=user<|message|>{response}"]
        for call in calls:
            block = f"{_OPENING}\n{write_invoke(call, _PREFIX)}\n{_CLOSING}"
            messages.append(f" to={call.name}<|message|>{block}")
        text = "<|eom|><|start|>assistant".join(messages)
        return f"{text}<|eot|>" if messages else ""

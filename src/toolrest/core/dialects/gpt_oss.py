"""The dialect of gpt-oss: OpenAI's harmony channels.

    <|channel|>analysis<|message|>Thoughts<|end|><|start|>assistant<|channel|>commentary
    to=functions.tool_name <|constrain|>json<|message|>{"parameter": "value"}<|call|>

and `<|channel|>final<|message|>Text to the user<|return|>`. The prompt ends with
`<|start|>assistant`, so a reply starts in its header; a recipient may also stand there:

    <|start|>assistant to=functions.tool_name<|channel|>commentary json<|message|>{..}<|call|>

A commentary without a recipient is text to the user.

Source: https://cookbook.openai.com/articles/openai-harmony.
"""

import re
from collections.abc import Sequence

from toolrest.core.dialects.base import SPACES, Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import dump, scan_object
from toolrest.core.dialects.scanning import Scanning
from toolrest.core.dialects.types import Tools
from toolrest.core.regions import SCAFFOLDING, Region
from toolrest.errors import InputError

_START = "<|start|>assistant"
_THINK, _END = "<|channel|>analysis<|message|>", "<|end|>"
_NO_THOUGHT = _THINK + _END
_HEADER = re.compile(
    r"(?:<\|start\|>assistant)?+((?:[ \t]*+to=[^<]*+)?)"
    r"(?:<\|channel\|>([a-z]*+)([^<]*+)(?:<\|constrain\|>[^<]*+)?(<\|message\|>)?)?"
)
_RECIPIENT = re.compile(r"to=(?:functions\.)?+([^ \t\r\n<]+)")
_MESSAGE_END = re.compile(r"<\|(end|call|return|start|channel)\|>")
_HEADER_START = re.compile(r"<\|(?:start|channel)\|>")


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = 0
        while at < len(text):
            header = _HEADER.match(text, at)
            if header is not None and (header[1] or header[2] is not None):
                at = self.message(header)
                continue
            following = _HEADER_START.search(text, at + 1)
            stop = following.start() if following else len(text)
            self.stray(at, stop)
            at = stop
        return self.result()

    def message(self, header: re.Match[str]) -> int:
        """Scan one message; return its end."""
        text = self.text
        recipient = _RECIPIENT.search(text, header.start(1), header.end(1)) or _RECIPIENT.search(
            text, header.start(3), header.end(3)
        )
        at = header.start()
        if recipient is not None:
            self.mark(Region.FORMAT, at, recipient.start(1))
            self.mark(Region.NAME, recipient.start(1), recipient.end(1))
            at = recipient.end(1)
        self.mark(Region.FORMAT, at, header.end())
        block = Block.THOUGHT if header[2] == "analysis" else Block.RESPONSE
        if recipient is not None:
            block = Block.CALLS
        self.open_block(block)
        start = header.end()
        if header[4] is None:
            self.calls_intact &= block is not Block.CALLS
            whole = start < len(text)
            self.defect(ParseStatus.STRAY_TEXT if whole else ParseStatus.UNCLOSED, start)
            return start
        if recipient is not None:
            return self.call(recipient[1], start)
        end = self.end_of_message(start, start)
        take = self.thought_text if block is Block.THOUGHT else self.response_text
        take(start, end)
        return self.close(end)

    def end_of_message(self, at: int, start: int) -> int:
        """Where the text of the message that starts at `start` ends, from `at` on."""
        mark = _MESSAGE_END.search(self.text, at)
        if mark is None or mark[1] in ("start", "channel"):
            self.defect(ParseStatus.UNCLOSED, start)
        return mark.start() if mark else len(self.text)

    def close(self, end: int) -> int:
        """Mark the closing token at `end`, if any; return its end."""
        mark = _MESSAGE_END.match(self.text, end)
        if mark is None or mark[1] in ("start", "channel"):
            return end
        self.mark(Region.FORMAT, end, mark.end())
        return mark.end()

    def call(self, name: str, start: int) -> int:
        """The parameters of a call. They are read as JSON before the closing token is looked for,
        so one in a string does not mislead.
        """
        text = self.text
        begin = self.skip(start)
        found, at = scan_object(text, begin)
        known = self.status
        end = self.end_of_message(at, start)
        self.calls_intact &= self.status is known
        stop = begin + len(text[begin:end].rstrip(SPACES))
        self.mark(SCAFFOLDING, start, begin)
        self.mark(Region.PARAMETERS, begin, stop)
        self.mark(SCAFFOLDING, stop, end)
        if found is not None and stop == at:
            self.calls.append(ToolCall(name, found))
        elif at < len(text):
            self.call_defect(ParseStatus.BAD_CALL, begin)
        return self.close(end)


class GptOss(Dialect):
    """Reads and writes harmony messages."""

    name = "gpt_oss"
    special_tokens = (
        *("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"),
        *(_END, "<|call|>", "<|return|>"),
    )
    stop_tokens = ("<|return|>", "<|call|>")
    thought_marks = (_THINK, _END)

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text).run()

    def opening(self, prompt: str) -> str:
        """What a prompt has written of the reply's header or of its text, and an empty thought that
        it has put before.
        """
        before, start, begun = prompt.rpartition(_START)
        header = _HEADER.match(begun)
        rest = begun[header.end() :] if header else begun
        open_message = header is not None and header[4] is not None
        if not start or (rest and not open_message) or _MESSAGE_END.search(rest):
            return ""
        return f"{_NO_THOUGHT}{start}{begun}" if before.endswith(_START + _NO_THOUGHT) else begun

    def continued(self, turn: str, opening: str, tools: Tools = None) -> str:
        """See `Dialect.continued`.

        Raises:
            InputError: the prompt has begun a message that the turn does not begin with.
        """
        *thought, begun = opening.split(_START)
        if thought or begun.startswith(_THINK):
            reply = self.parse(turn)
            said = None if thought else reply.thought or ""
            turn = self.write(thought=said, calls=reply.calls, response=reply.response)
        if not turn.startswith(begun):
            raise InputError(
                f"the prompt begins the reply with {begun!r}, and the reply begins with "
                f"{turn[:80]!r}"
            )
        return turn.removeprefix(begun)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        messages = []
        if thought is not None:
            messages.append(f"{_THINK}{thought}{_END}")
        if response is not None:
            head, end = ("commentary", _END) if calls else ("final", "<|return|>")
            messages.append(f"<|channel|>{head}<|message|>{response}{end}")
        messages += [
            f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
            f"{dump(call.parameters)}<|call|>"
            for call in calls
        ]
        return _START.join(messages)

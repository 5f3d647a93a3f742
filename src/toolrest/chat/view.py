"""A dialogue in the terminal, or line by line where it is piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from rich.text import Text

from toolrest.chat.policy import Said
from toolrest.chat.session import answer_of, defect_of
from toolrest.core.dialects import ToolCall
from toolrest.io.console import console
from toolrest.report.inspection import Inspection
from toolrest.report.shading import legend, token_lines

_LONGEST = 1 << 20
"""Most bytes of a line that is typed."""


class TerminalView:
    """Prints each part of the dialogue after its name; further lines of a part are indented.

    Args:
        inspect: the tokens of a reply with their weights, which are shown too; None: they are not.
    """

    def __init__(self, inspect: Callable[[Said], Inspection] | None = None) -> None:
        self.interactive = sys.stdin.isatty()
        self._console = console()
        self._inspect = inspect
        if inspect is not None:
            self._console.print(legend())

    def read(self, prompt: str) -> str:
        """A line that the user types, without its end.

        Raises:
            EOFError: there is no more.
        """
        if self.interactive:
            return input(prompt)
        line = sys.stdin.buffer.readline(_LONGEST)
        if not line:
            raise EOFError
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def said(self, said: Said) -> None:
        if self._inspect is not None and said.ids:
            for line in token_lines(self._inspect(said).tokens, self._console.width):
                self._console.print(line)
        reply, defect = said.reply, defect_of(said)
        if reply.thought:
            self._line("thought", reply.thought, "blue")
        for call in reply.calls:
            written = json.dumps(call.parameters, ensure_ascii=False)
            self._line("call", f"{call.name} {written}", "yellow")
        if defect is not None:
            self._line("broken", defect, "red")
        if reply.response or not reply.calls:
            self._line("answer" if defect is None else "text", answer_of(said), "magenta")

    def result(self, call: ToolCall, text: str) -> None:
        self._line("result", f"{call.name}: {text}", "green")

    def note(self, text: str) -> None:
        self._line("note", text, "dim")

    def type_result(self, call: ToolCall) -> str:
        text = self.read(f"result of {call.name}> ")
        if not self.interactive:
            self.result(call, text)
        return text

    def _line(self, name: str, text: str, style: str) -> None:
        shown = Text(f"{name}: ", style=f"bold {style}")
        shown.append("\n  ".join(text.split("\n")), style="")
        self._console.print_line(shown)

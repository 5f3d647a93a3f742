"""The dialect of ToolACE and Llama 4: a list of Python calls.

    [tool_name(parameter="value", other=1), other_tool()]

Values are literals and are read as such, never run. A reply is either such a list or text to the
user. A thought between `<think>` tags may come first.
"""

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

from toolrest.dialects.base import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.dialects.scanning import Scanning, empty_thought, write_thought
from toolrest.dialects.types import Tools
from toolrest.regions import SCAFFOLDING, Region

_NAME = re.compile(r"[^()\[\]{}=,\"'\t\r\n]+")
_LIST = re.compile(r"\[[ \t\r\n]*+(?=[^()\[\]{}=,\"'\t\r\n]++\(|[^()\[\]{}=,\"'\t\r\n]*+\Z)")
_CERTAIN_CALL = re.compile(r"(?<=\n)\[[^()\[\]{}=,\"'\t\r\n]+\(")
_KEY = re.compile(r"[ \t\r\n]*+([^()\[\]{}=,\"'\t\r\n]+?)[ \t]*+=")
_NESTED = re.compile(r"""[\[\](){}<"']""")
_MARK = re.compile(r"""[\[\](){},"']""")
_STRINGS = {
    '"': (re.compile(r'"[^"\\\n]*+(?:\\[\s\S][^"\\\n]*+)*+"'), re.compile(r'"[^\n]*')),
    "'": (re.compile(r"'[^'\\\n]*+(?:\\[\s\S][^'\\\n]*+)*+'"), re.compile(r"'[^\n]*")),
}
_UNREADABLE = (ValueError, SyntaxError, MemoryError, RecursionError)


class _Scanner(Scanning):
    def run(self) -> Scan:
        text = self.text
        at = 0
        if _LIST.match(text, self.skip(0)) is None:
            at = self.leading_thought("<think>", "</think>", _CERTAIN_CALL)
        at = self.blank(at, len(text))
        opening = _LIST.match(text, at)
        if opening is None:
            self.free_response(at, len(text))
        else:
            self.mark(SCAFFOLDING, at, opening.end())
            self.open_block(Block.CALLS)
            self.stray(self.call_list(opening.end(), at), len(text))
        return self.result()

    def value_at(self, start: int) -> tuple[int, bool]:
        """Arguments, from their parenthesis on; a tag outside their strings breaks them."""
        depth, at = 0, start
        while (mark := _NESTED.search(self.text, at)) is not None:
            at, sign = mark.end(), mark[0]
            if sign in _STRINGS:
                whole, cut = _STRINGS[sign]
                string = whole.match(self.text, mark.start())
                rest = string or cut.match(self.text, mark.start())
                at = rest.end() if rest else at
                if string is None:
                    return at, at == len(self.text)
            elif sign == "<":
                return mark.start(), False
            else:
                depth += 1 if sign in "([{" else -1
            if depth == 0:
                return at, True
        return len(self.text), True

    def call_list(self, at: int, block: int) -> int:
        """The list; where it ends, or where it broke."""
        text = self.text
        while (name := _NAME.match(text, at)) is not None and text.startswith("(", name.end()):
            self.mark(Region.NAME, at, name.end())
            end, parameters = _arguments(text, name.end())
            self.mark(Region.PARAMETERS, name.end(), end)
            if parameters is not None:
                self.calls.append(ToolCall(name[0], parameters))
            elif end == len(text):
                self.call_defect(ParseStatus.UNCLOSED, block)
                return end
            else:
                self.call_defect(ParseStatus.BAD_CALL, name.end())
            at = self.blank(end, len(text))
            separator = text[at : at + 1]
            if separator == "]":
                self.mark(SCAFFOLDING, at, at + 1)
                return at + 1
            if separator != ",":
                break
            self.mark(SCAFFOLDING, at, at + 1)
            at = self.blank(at + 1, len(text))
        if name is not None and name.end() == len(text):
            self.mark(Region.NAME, at, name.end())
            at = name.end()
        if at == len(text):
            self.call_defect(ParseStatus.UNCLOSED, block)
        else:
            self.call_defect(ParseStatus.BAD_CALL, at)
        return at


def _arguments(text: str, start: int) -> tuple[int, dict[str, Any] | None]:
    """The arguments whose opening parenthesis is `text[start]`.

    Returns:
        Where they end, or the end of the text; and what they are, None where they are broken.
    """
    found: dict[str, Any] | None = {}
    depth, at, piece = 1, start + 1, start + 1
    while (mark := _MARK.search(text, at)) is not None:
        at = mark.end()
        sign = mark[0]
        if sign in _STRINGS:
            whole, cut = _STRINGS[sign]
            string = whole.match(text, mark.start())
            if string is None:
                rest = cut.match(text, mark.start())
                return rest.end() if rest else at, None
            at = string.end()
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        if depth == 0 or (sign == "," and depth == 1):
            last = depth == 0
            empty = last and text[piece : at - 1].strip() == "" and not found
            if found is not None and not empty:
                found = _add(found, text[piece : at - 1])
            piece = at
            if last:
                return at, found if sign == ")" else None
    return len(text), None


def _add(found: dict[str, Any], argument: str) -> dict[str, Any] | None:
    """The arguments with one more, or None where it is not `name=literal`."""
    key = _KEY.match(argument)
    if key is None:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            found[key[1]] = _json(ast.literal_eval(argument[key.end() :].strip(" \t\r\n")))
    except _UNREADABLE:
        return None
    return found


def _json(value: Any) -> Any:
    """A literal as a JSON value; a tuple is a list.

    Raises:
        ValueError: it is none, such as a set or bytes.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _json(item) for key, item in value.items()}
    raise ValueError(f"{type(value).__name__} is not a JSON value")


class Pythonic(Dialect):
    """Reads and writes lists of Python calls."""

    name = "pythonic"

    def scan(self, text: str, tools: Tools = None) -> Scan:
        return _Scanner(text).run()

    def without_thought(self, text: str) -> str:
        return empty_thought(text, following=_CERTAIN_CALL)

    def write(self, *, thought: str | None, calls: Sequence[ToolCall], response: str | None) -> str:
        written = ", ".join(
            f"{c.name}({', '.join(f'{k}={v!r}' for k, v in c.parameters.items())})" for c in calls
        )
        listed = f"[{written}]" if calls else ""
        return write_thought(thought) + (response or "") + listed

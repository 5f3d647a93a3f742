"""Scanner of lists of Python calls, `[f(a="x", b=[1, None]), g()]`.

Values are literals and are read as such, never run: strings, numbers, True, False, None, lists,
tuples (which are lists) and dictionaries with strings as keys; JSON's true, false and null too,
which templates write within lists and dictionaries. Comments, f-strings, bytes and sets are none.
"""

import re
from typing import Any, ClassVar

from toolrest.core.dialects.base import ParseStatus, ToolCall
from toolrest.core.dialects.json_call import finite
from toolrest.core.dialects.literals import BARE, WORDS, Bracket, Reader, Unreadable, whole
from toolrest.core.dialects.scanning import Scanning
from toolrest.core.regions import SCAFFOLDING, Region

NAME = r"[^()\[\]{}=,\"'<#\t\r\n]++"
"""A tool's or a parameter's name, white space around it included."""
CALL = Bracket(")", keyed=True)
"""The arguments of a call."""
_NAME = re.compile(NAME)
_KEY = re.compile(rf"({NAME})[ \t]*+=")
_NESTED = re.compile(r"""[\[\](){}"'<]""")
_MARK = re.compile(r"""[\[\](){},"']""")
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([\s\S]))"
)
_ESCAPED = {
    **{c: c for c in "\\'\""},
    **dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)),
    "\n": "",
}


def _string(within: str) -> re.Pattern[str]:
    """One string; `within` are the characters besides quotes that cannot stand in it as they are.

    The longer quotes go first: an empty string is not followed by a third quote.
    """
    plain = (
        rf"{q}(?!{q}{q})([^{q}{within}]*+(?:\\[\s\S][^{q}{within}]*+)*+){q}" for q in ('"', "'")
    )
    longer = (rf"{q * 3}((?:[^{q}\\]++|\\[\s\S]|{q}(?!{q}{q}))*+){q * 3}" for q in ('"', "'"))
    return re.compile(rf"([rRuU]?)(?:{'|'.join((*longer, *plain))})")


STRING = _string(r"\\\r\n")
"""A string as Python writes it."""
STRING_OF_LINES = _string(r"\\")
"""One that may hold line breaks."""


class PythonReader(Reader):
    """Reads Python's literals."""

    brackets: ClassVar = {
        "[": Bracket("]"),
        "(": Bracket(")", single=True),
        "{": Bracket("}", keyed=True),
    }
    trailing_comma: ClassVar = True
    string: ClassVar[re.Pattern[str]] = STRING
    """How a string is written."""

    def key(self, at: int, within: Bracket) -> tuple[str, int]:
        if within is CALL:
            name = _KEY.match(self.text, at)
            if name is None:
                raise Unreadable(at)
            return name[1].rstrip(" "), name.end()
        key, end = self.scalar(at, within)
        end = self.skip(end)
        if not isinstance(key, str) or not self.text.startswith(":", end):
            raise Unreadable(at)
        return key, end + 1

    def scalar(self, at: int, within: Bracket) -> tuple[Any, int]:
        string = self.string.match(self.text, at)
        if string is not None:
            return self.strings(string)
        sign = at
        if self.text[at : at + 1] in ("+", "-"):
            at = self.skip(at + 1)
        token = BARE.match(self.text, at)
        if token is None or (at > sign and token[0][0] in "+-"):
            raise Unreadable(sign)
        if token[0] in WORDS and at == sign:
            return WORDS[token[0]], token.end()
        try:
            value = _number(token[0])
        except ValueError:
            raise Unreadable(sign) from None
        return -value if self.text[sign] == "-" else value, token.end()

    def strings(self, string: re.Match[str]) -> tuple[str, int]:
        """Join adjacent string literals."""
        parts: list[str] = []
        following: re.Match[str] | None = string
        end = string.end()
        while following is not None:
            end = following.end()
            body = next(each for each in following.groups()[1:] if each is not None)
            parts.append(body if following[1] in ("r", "R") else self.unescaped(body, end))
            following = self.string.match(self.text, self.skip(end))
        self.check_string(string.start(), end)
        return "".join(parts), end

    def unescaped(self, body: str, end: int) -> str:
        """Unescape the text between the quotes."""
        if "\\" not in body:
            return body
        try:
            said = _ESCAPE.sub(_character, body)
        except (ValueError, OverflowError):
            raise Unreadable(end) from None
        if "\\u" not in body:
            return said
        # JSON writes a character beyond the first 65,536 as two of these.
        return said.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _character(escape: re.Match[str]) -> str:
    octal, *codes, other = escape.groups()
    if octal is not None:
        return chr(int(octal, 8))
    code = next((each for each in codes if each is not None), None)
    if code is not None:
        return chr(int(code, 16))
    if other in "xuUN":
        raise ValueError(f"\\{other} without its code")
    return _ESCAPED.get(other, escape[0])


def _number(token: str) -> int | float:
    """A number as Python writes it, without a sign."""
    if not token[0].isdigit() and token[0] != ".":
        raise ValueError(f"{token} is not a number")
    try:
        return whole(token, 0)
    except ValueError:
        if not set(token) & set(".eE"):
            raise
        return finite(token)


class PythonCalls(Scanning):
    """A scan of a text that holds lists of calls."""

    reader: ClassVar = PythonReader

    def call_list(self, at: int, block: int) -> int:
        """Scan the list after the bracket at `at`; return where it ends or breaks."""
        text = self.text
        while (end := self.call(at, block)) is not None:
            at = self.blank(end, len(text))
            if text.startswith("]", at):
                self.mark(SCAFFOLDING, at, at + 1)
                return at + 1
            if not text.startswith(",", at):
                break
            self.mark(SCAFFOLDING, at, at + 1)
            at = self.blank(at + 1, len(text))
        else:
            name = _NAME.match(text, at)
            if name is not None and name.end() == len(text):
                self.mark(Region.NAME, at, name.end())
                at = name.end()
        return self.broken(at, block)

    def value_at(self, start: int) -> tuple[int, bool]:
        """A list from its first call's parenthesis on; a tag outside its strings breaks it."""
        text, depth, at = self.text, 1, start
        if not text.startswith("(", start):
            return start, False
        while (mark := _NESTED.search(text, at)) is not None:
            at = mark.end()
            if mark[0] in "\"'":
                string = self.reader.string.match(text, mark.start())
                line = text.find("\n", at) if self.reader.string is STRING else -1
                if string is None:
                    return (line, False) if line >= 0 else (len(text), True)
                at = string.end()
            elif mark[0] == "<":
                return mark.start(), False
            else:
                depth += 1 if mark[0] in "([{" else -1
            if depth == 0:
                return at, True
        return len(text), True

    def call(self, at: int, block: int) -> int | None:
        """Scan one call; return its end, or None if there is no call."""
        text = self.text
        name = _NAME.match(text, at)
        if name is None or not text.startswith("(", name.end()):
            return None
        self.mark(Region.NAME, at, name.end())
        end, parameters = self.arguments(name.end())
        self.mark(Region.PARAMETERS, name.end(), end)
        if parameters is not None:
            self.calls.append(ToolCall(name[0], parameters))
        elif end == len(text):
            self.call_defect(ParseStatus.UNCLOSED, block)
        else:
            self.call_defect(ParseStatus.BAD_CALL, name.end())
        return end

    def arguments(self, start: int) -> tuple[int, dict[str, Any] | None]:
        """Scan the arguments from the parenthesis `text[start]`.

        Returns:
            Where they end, or where they broke; and what they are, None where they are broken.
        """
        try:
            value, end = self.reader(self.text).read(start, CALL)
        except Unreadable:
            return self.extent(start, len(self.text)), None
        return end, value

    def extent(self, start: int, limit: int) -> int:
        """Where broken arguments end: at their last bracket, or within a string that has no end, at
        the end of its line or at `limit`.
        """
        text = self.text
        depth, at = 1, start + 1
        while (mark := _MARK.search(text, at, limit)) is not None:
            at = mark.end()
            if mark[0] in "\"'":
                string = self.reader.string.match(text, mark.start(), limit)
                if string is None:
                    over_lines = self.reader.string is not STRING
                    over_lines |= text.startswith(mark[0] * 3, mark.start())
                    line = -1 if over_lines else text.find("\n", at, limit)
                    return line if line >= 0 else limit
                at = string.end()
            elif mark[0] in "([{":
                depth += 1
            elif mark[0] in ")]}":
                depth -= 1
                if depth == 0:
                    return at
        return limit

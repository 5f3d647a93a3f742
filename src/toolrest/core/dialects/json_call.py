"""Scanner of a call written as one JSON object, `{"name": .., "parameters": {..}}`.

A well-formed call costs one regular expression and one run of the standard JSON scanner. Anything
else, single quotes included, goes through `_walk`, which moves from one structural character to the
next, keeps what it recognised up to where the call broke, and never goes back: linear time, no
recursion of its own.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from toolrest.core.dialects.base import ToolCall
from toolrest.core.regions import SCAFFOLDING, Region

_WS = r"[ \t\r\n]*+"
_STRING_BODY = r'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+'
_STRING = re.compile(f'"({_STRING_BODY})"')
_OPEN_STRING = re.compile(f'"{_STRING_BODY}\\\\?')
SPACE = re.compile(_WS)
_SINGLE_BODY = r"[^'\\\n]*+(?:\\.[^'\\\n]*+)*+"
_SINGLE = re.compile(f"'({_SINGLE_BODY})'")
_OPEN_SINGLE = re.compile(f"'{_SINGLE_BODY}\\\\?")
_SCALAR = re.compile(r"[^,:{}\[\]\"'< \t\r\n]++")
_SEPARATOR = re.compile(r"[ \t\r\n;,]*+")
_STRUCTURE = re.compile(r'["\'{}\[\]<]')
_NAME, _PARAMETERS = int(Region.NAME), int(Region.PARAMETERS)
_QUOTES = ('"', "'")
_NEAR = 1 << 16
_TAIL = re.compile(_WS + r"\}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def finite(text: str) -> float:
    """Parse a finite number.

    Raises:
        ValueError: it is none, or so large that it would be infinite.
    """
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError(f"{text} is beyond what JSON can say")
    return value


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=finite)
UNREADABLE = (ValueError, RecursionError)
"""All exceptions that reading JSON can raise."""


@dataclass(frozen=True)
class CallKeys:
    """The keys of a dialect's call object."""

    name: str
    """The key of the tool's name."""
    parameters: str
    """The key of the parameters."""

    @cached_property
    def head(self) -> re.Pattern[str]:
        """The usual start of a call, up to the parameters' opening brace."""
        return re.compile(
            rf'\{{{_WS}"{self.name}"{_WS}:{_WS}"({_STRING_BODY})"{_WS},'
            rf'{_WS}"{self.parameters}"{_WS}:{_WS}(?=\{{)'
        )


@dataclass(slots=True)
class ScannedCall:
    """A scanned call object."""

    call: ToolCall | None
    """The call, or None where it is not one."""
    spans: list[tuple[int, int, int]]
    """(code, start, end) of what was recognised, in order."""
    end: int
    """Where the object ends, or where it broke."""
    closed: bool
    """Whether the object ends with its own closing brace."""


def scan_call(text: str, start: int, keys: CallKeys) -> ScannedCall:
    """Scan the call whose opening brace is `text[start]`."""
    head = keys.head.match(text, start)
    if head is not None and "\\" not in head[1]:
        try:
            parameters, end = _object(text, head.end())
        except UNREADABLE:
            return _walk(text, start, keys)
        tail = _TAIL.match(text, end)
        if tail is not None:
            (name, named), begin, close = head.span(1), head.end(), tail.end()
            spans = [
                (SCAFFOLDING, start, name),
                (_NAME, name, named),
                (SCAFFOLDING, named, begin),
                (_PARAMETERS, begin, end),
                (SCAFFOLDING, end, close),
            ]
            return ScannedCall(ToolCall(head[1], parameters), spans, close, True)
    return _walk(text, start, keys)


def _walk(text: str, start: int, keys: CallKeys) -> ScannedCall:
    """Scan an unusual or broken call: keys in any order, more keys, a break anywhere."""
    spans: list[tuple[int, int, int]] = []
    scaffold_from = start
    at = start + 1
    closed = False

    def mark(region: int, begin: int, end: int) -> None:
        nonlocal scaffold_from
        if begin > scaffold_from:
            spans.append((SCAFFOLDING, scaffold_from, begin))
        if end > begin:
            spans.append((region, begin, end))
        scaffold_from = end

    while True:
        at = skip(text, at)
        if text[at : at + 1] == "}":
            at, closed = at + 1, True
            break
        if text[at : at + 1] not in _QUOTES:
            break
        key_end, whole = _skip_string(text, at)
        key = text[at + 1 : key_end - 1]
        at = skip(text, key_end)
        if not whole or text[at : at + 1] != ":":
            break
        begin = skip(text, at + 1)
        end, whole = _skip_value(text, begin)
        if key == keys.name and text[begin : begin + 1] in _QUOTES:
            mark(_NAME, begin + 1, end - 1 if whole else end)
        elif key == keys.parameters:
            mark(_PARAMETERS, begin, end)
        at = end
        if not whole:
            break
        comma = skip(text, end)
        if text[comma : comma + 1] == ",":
            at = comma + 1
    if at > scaffold_from:
        spans.append((SCAFFOLDING, scaffold_from, at))
    return ScannedCall(_read(text[start:at], keys) if closed else None, spans, at, closed)


def scan_object(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """(JSON object at `start` or None, where it ends or breaks)."""
    if text[start : start + 1] != "{":
        return None, start
    try:
        return _object(text, start)
    except UNREADABLE:
        return None, _skip_value(text, start)[0]


def _object(text: str, start: int) -> tuple[dict[str, Any], int]:
    """(JSON object at `start`, its end).

    The standard decoder's error counts the lines before it, which is quadratic where a long text
    breaks again and again; so far into a text the decoder sees the object alone.

    Raises:
        ValueError: there is none.
        RecursionError: it is too deep.
    """
    if start < _NEAR:
        return _DECODER.raw_decode(text, start)
    end, whole = _skip_value(text, start)
    if not whole:
        raise ValueError("the object does not end")
    value, length = _DECODER.raw_decode(text[start:end])
    return value, start + length


def value_end(text: str, start: int) -> tuple[int, bool]:
    """Where the JSON object or list at `start`, and objects that follow it, end or break; and
    whether all up to there is said in them, also where they are cut at the text's end.
    """
    at, end, whole = start, start, False
    while text.startswith("{", at) or (at == start and text.startswith("[", at)):
        end, whole = _skip_value(text, at)
        if not whole:
            return end, end == len(text)
        following = _SEPARATOR.match(text, end)
        at = following.end() if following else end
    return end, whole


def skip(text: str, at: int) -> int:
    """The index after the white space at `at`."""
    space = SPACE.match(text, at)
    return space.end() if space else at


def _skip_value(text: str, at: int) -> tuple[int, bool]:
    """(end of the value at `at`, whether the value is complete)."""
    first = text[at : at + 1]
    if first in _QUOTES:
        return _skip_string(text, at)
    if first not in ("{", "["):
        scalar = _SCALAR.match(text, at)
        return (scalar.end(), True) if scalar else (at, False)
    depth = 0
    while (mark := _STRUCTURE.search(text, at)) is not None:
        at = mark.end()
        if mark[0] in _QUOTES:
            at, whole = _skip_string(text, mark.start())
            if not whole:
                return at, False
        elif mark[0] in "{[":
            depth += 1
        elif mark[0] == "<":
            return mark.start(), False
        else:
            depth -= 1
            if depth == 0:
                return at, True
    return len(text), False


def _skip_string(text: str, at: int) -> tuple[int, bool]:
    single = text[at] == "'"
    string = (_SINGLE if single else _STRING).match(text, at)
    if string is not None:
        return string.end(), True
    cut = (_OPEN_SINGLE if single else _OPEN_STRING).match(text, at)
    return (cut.end() if cut else at + 1), False


def _read(text: str, keys: CallKeys) -> ToolCall | None:
    try:
        value = load(text)
    except UNREADABLE:
        return None
    name, parameters = value.get(keys.name), value.get(keys.parameters)
    if isinstance(name, str) and isinstance(parameters, dict):
        return ToolCall(name, parameters)
    return None


def load(text: str) -> Any:
    """Parse a whole text as JSON; NaN and infinity are refused."""
    return json.loads(text, parse_constant=_no_constant, parse_float=finite)


decode = _DECODER.raw_decode
"""(text, at) -> (JSON value at `at`, its end)."""


def dump(value: object) -> str:
    """The value as JSON on one line; lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def dump_call(call: ToolCall, keys: CallKeys) -> str:
    """The call as one JSON object on one line."""
    return dump({keys.name: call.name, keys.parameters: call.parameters})

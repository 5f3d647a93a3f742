"""Potentials: the reward that a response's prefix has decided, after each decided part.

A rule reward has parts, and the response decides them one after the other: a tool's name at its
closing quote, a parameter at the end of its value. A potential is a function of the prefix alone,
so later tokens cannot change it; see `toolrest.core.credit.reward_to_go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolrest.core.dialects import Block, Dialect, ParseStatus, Scan, ToolCall
from toolrest.core.dialects.json_call import UNREADABLE, decode, load
from toolrest.core.regions import Region
from toolrest.core.rewards.partial import call_score

_SPACES = " \t\r\n"
_AFTER_NUMBERS = (*_SPACES, ",", "}", "]")


@dataclass(frozen=True)
class Potentials:
    """The potentials phi(1), .., phi(S) of one response with S decisions."""

    positions: list[int]
    """Byte offset of each decision, ascending, [S]."""
    values: list[float]
    """The potential from each of them on, [S]."""
    no_call: float
    """The reward of a well-formed reply without any call."""


@dataclass(frozen=True)
class Decision:
    """One part of the reward, decided by a prefix of the response."""

    position: int
    """Byte offset of the decision; the token with this byte is the last that influenced it."""
    calls: tuple[ToolCall, ...]
    """The calls of the prefix; of the last call, the parameters so far."""


def find_decisions(response: bytes, dialect: Dialect, opening: str = "") -> list[Decision]:
    """The decisions of a response, in order of their bytes.

    Parameters in a JSON object are decided one by one; those of other dialects at the response's
    end. A decision is undone in two cases: a closing thought mark without an opening one (the chat
    template may have written that) turns all before it into thought; and in `llama3` an object
    with a name can turn out to be data at its end.

    Args:
        response: the sampled tokens' bytes.
        dialect: how the policy writes calls.
        opening: what the prompt has written of the reply already.
    """
    before = opening.encode().decode("latin-1")
    text = before + response.decode("latin-1")
    scan = dialect.scan(text)
    found: list[Decision] = []
    calls: list[ToolCall] = []
    named, undecided = False, _thought_without_end(scan)
    for code, start, end in scan.spans:
        if undecided is not None and start >= undecided:
            break  # a closing mark that is still to come would make the rest part of the thought
        if code == Region.NAME:
            named = end < len(text)
            if named:
                calls.append(ToolCall(_text(text[start:end]), {}))
                found.append(Decision(end - len(before), tuple(calls)))
        elif code == Region.PARAMETERS and named:
            named = False
            parameters: dict[str, Any] = {}
            for key, value, position in _members(text[start:end]):
                parameters = parameters | {key: value}
                calls[-1] = ToolCall(calls[-1].name, parameters)
                found.append(Decision(start + position - len(before), tuple(calls)))
    return found


def _thought_without_end(scan: Scan) -> int | None:
    """Where an unclosed thought begins; None where there is none."""
    at = scan.position
    if scan.status is not ParseStatus.UNCLOSED or at is None:
        return None
    marks = (end for code, _, end in scan.spans if code == Region.FORMAT)
    empty = scan.blocks[:1] == (Block.THOUGHT,) and next(marks, None) == at
    thought = any(code == Region.REASONING and start == at for code, start, _ in scan.spans)
    return at if empty or thought else None


def _text(written: str) -> str:
    """Decode a text that holds one character a byte."""
    return written.encode("latin-1").decode("utf-8", "replace")


def _members(text: str) -> Iterator[tuple[str, Any, int]]:
    """(key, value, deciding position) of an object's members, up to where it breaks.

    A string, a list and an object end with a character of their own; a number ends with the next.
    """
    at = 1 if text[:1] == "{" else len(text)
    while at < len(text):
        at = _skip(text, at)
        try:
            key, colon = decode(text, at)
            colon = _skip(text, colon)
            if not isinstance(key, str) or text[colon : colon + 1] != ":":
                return
            begin = _skip(text, colon + 1)
            _, end = decode(text, begin)
            key, value = load(_text(text[at:colon].rstrip(_SPACES))), load(_text(text[begin:end]))
        except UNREADABLE:
            return
        closed = text[end - 1] in '"]}'
        if not closed and text[end : end + 1] not in _AFTER_NUMBERS:
            return  # 1 may still become 1.5 or 1e3
        yield key, value, end - 1 if closed else end
        comma = _skip(text, end)
        if text[comma : comma + 1] != ",":
            return
        at = comma + 1


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACES:
        at += 1
    return at


def decision_values(
    decisions: Sequence[Decision], truth: Sequence[ToolCall], scale: float
) -> list[float]:
    """The potential after each decision, [S]: scale * (S_acc(calls so far) - S_acc(no calls)).

    S_acc is `toolrest.core.rewards.partial`'s score.

    Args:
        scale: the range of the correctness reward.
    """
    nothing = call_score((), truth).total
    return [scale * (call_score(d.calls, truth).total - nothing) for d in decisions]

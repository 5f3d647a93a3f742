"""When a part of the reward is decided, and what it then is worth.

A rule reward has parts, and a prefix of the response decides them one after the other: a tool's
name at its closing quote, a parameter at the end of its value. A decision's worth is a function of
the prefix alone, so later tokens cannot change it; see `toolrest.core.credit.reward_to_go`.
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
class LockedIn:
    """What a response's decisions are worth; see `toolrest.core.credit.reward_to_go`."""

    positions: list[int]
    """The bytes that decide, ascending."""
    worth: list[float]
    """What is locked in from each of them on."""
    plain: float
    """What a well-formed reply without any call earns."""


@dataclass(frozen=True)
class Decision:
    """A part of the reward is known from here on."""

    position: int
    """The byte that decided it: a token that holds it is the last one that had a say."""
    calls: tuple[ToolCall, ...]
    """What the prefix up to it calls; of the last call, the parameters so far."""


def find_decisions(response: bytes, dialect: Dialect, opening: str = "") -> list[Decision]:
    """The decisions of a response, in order.

    Parameters that are written as a JSON object decide one by one; those of other dialects decide
    nothing before the response's end. Two things can take decisions back: the end mark of a thought
    that the response never began (a chat template may have), which makes all before it thought; and
    in `llama3` the end of an object that has a name and turns out to be data.

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
    """Where the text of a thought begins that has no end; None where there is none."""
    at = scan.position
    if scan.status is not ParseStatus.UNCLOSED or at is None:
        return None
    marks = (end for code, _, end in scan.spans if code == Region.FORMAT)
    empty = scan.blocks[:1] == (Block.THOUGHT,) and next(marks, None) == at
    thought = any(code == Region.REASONING and start == at for code, start, _ in scan.spans)
    return at if empty or thought else None


def _text(written: str) -> str:
    """Text of which every character stands for a byte, as the text that those bytes are."""
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


def worth(decisions: Sequence[Decision], truth: Sequence[ToolCall], scale: float) -> list[float]:
    """What the response's correctness would gain over no call at all if it ended its calls there.

    `scale` * (S_acc of the calls so far - S_acc of none), with S_acc as in
    `toolrest.core.rewards.partial`.

    Args:
        scale: the range of the correctness reward.
    """
    nothing = call_score((), truth).total
    return [scale * (call_score(d.calls, truth).total - nothing) for d in decisions]

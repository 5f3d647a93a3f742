"""Matches tool results to calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Observation
from toolrest.data.rows import BadRow
from toolrest.errors import short


@dataclass(frozen=True)
class Result:
    """A tool's result in a row."""

    text: str
    """Its text."""
    identity: str | None = None
    """The id of the call that it answers; None: the row has none."""
    name: str | None = None
    """The tool's name; None: the row has none."""


class Owed:
    """The calls of an action that still wait for a result."""

    def __init__(self, calls: Sequence[ToolCall] = (), ids: Sequence[str | None] = ()) -> None:
        """Take the calls, and their ids where they have some."""
        self._calls = list(calls)
        self._ids = list(ids)
        self._free = list(range(len(self._calls)))

    def __len__(self) -> int:
        """Number of waiting calls."""
        return len(self._free)

    def add(self, calls: Sequence[ToolCall], ids: Sequence[str | None]) -> None:
        """Add calls of the same action."""
        self._free += range(len(self._calls), len(self._calls) + len(calls))
        self._calls += calls
        self._ids += ids

    def answered(self, results: Sequence[Result]) -> Observation:
        """Match results to waiting calls; return them in the order of the calls.

        A result goes to the call of its id. Without ids, results go by their tools' names if each
        is a call's, and else one by one. A call may stay without a result. What follows no call
        keeps its own order.

        Raises:
            BadRow: a result of a call that was not made or has one already, or too many.
        """
        placed: list[tuple[int, Result, str]] = []
        others: list[Result] = []
        for result in results:
            if result.identity and (any(self._ids) or not self._calls):
                place = self._place(result.identity)
                placed.append((place, result, self._calls[place].name))
            else:
                others.append(result)
        if not self._calls:
            return Observation(tuple((each.name or "", each.text) for each in others))
        if len(others) > len(self._free):
            raise BadRow(f"{len(results)} results of {len(self._calls)} calls")
        placed += list(self._without_ids(others))
        placed.sort(key=lambda each: each[0])
        places = tuple(place for place, _, _ in placed)
        self._free = [place for place in self._free if place not in places]
        return Observation(
            tuple((name, result.text) for _, result, name in placed),
            None if places == tuple(range(len(places))) else places,
        )

    def _place(self, identity: str) -> int:
        for place in self._free:
            if self._ids[place] == identity:
                self._free.remove(place)
                return place
        if identity in self._ids:
            raise BadRow(f"two results of the call {short(identity)}")
        raise BadRow(f"a result of the call {short(identity)}, which the action before has not")

    def _without_ids(self, results: Sequence[Result]) -> Iterator[tuple[int, Result, str]]:
        free = list(self._free)
        names = Counter(self._calls[place].name for place in free)
        if results and not Counter(each.name or "" for each in results) - names:
            for result in results:
                place = next(place for place in free if self._calls[place].name == result.name)
                free.remove(place)
                yield place, result, self._calls[place].name
            return
        together = len(results) < len(free) and len(names) > 1
        for place, result in zip(free, results, strict=False):
            yield place, result, result.name or ("" if together else self._calls[place].name)

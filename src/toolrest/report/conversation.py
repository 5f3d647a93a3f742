"""An episode of an environment as a conversation: turns, what each called and read, and rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from toolrest.core.regions import Region
from toolrest.errors import kind_of
from toolrest.io.foreign import is_number
from toolrest.report.endings import told_ending
from toolrest.report.inspection import Token


@dataclass(frozen=True)
class Called:
    """A call and what came of it."""

    name: str
    """The tool's."""
    parameters: dict[str, Any]
    """As it was called with."""
    result: str | None
    """What the policy read of it; None: the episode ended before."""


@dataclass(frozen=True)
class ShownTurn:
    """A turn of the policy."""

    text: str
    """What it wrote."""
    tokens: list[Token]
    """What it sampled; empty where tokens were not recorded."""
    called: list[Called]
    """Its calls."""
    errors: int
    """How many of them failed."""
    reward: float
    """What it earned."""
    said: str | None
    """What the user said next."""


@dataclass(frozen=True)
class Conversation:
    """An episode as it was recorded."""

    turns: list[ShownTurn]
    """In their order."""
    ending: str
    """Why it ended, in words."""
    reward: float | None
    """What all turns earned; None: the environment failed."""
    success: bool | None
    """Whether the task was done; None: the environment does not say."""
    prompt: str | None = None
    """What it began with, where that was recorded."""
    advantage: float | None = None
    """Of the whole episode; None where it is of turns."""
    note: str | None = None
    """What is to be said of which episode it is."""
    facts: tuple[tuple[str, str], ...] = ()
    """Where it is from: name and value of each fact."""

    @property
    def tokens(self) -> list[Token]:
        """Those of all turns."""
        return [token for turn in self.turns for token in turn.tokens]

    @property
    def outcome(self) -> str:
        """Reward, success and ending in a line."""
        done = {True: "the task was done", False: "the task was not done", None: ""}[self.success]
        reward = "no reward" if self.reward is None else f"reward {self.reward:.2f}"
        return "; ".join(part for part in (reward, done, self.ending) if part)


def read_conversation(row: Mapping[str, Any]) -> Conversation:
    """The conversation of a recorded rollout that has an `episode`, or of a held-out episode's
    record, which has no tokens.

    Raises:
        ValueError, TypeError or KeyError: its parts are missing, of other kinds or do not fit.
    """
    episode = _of(row.get("episode", row), dict)
    turns = [_of(turn, dict) for turn in _of(episode["turns"], list)]
    parts = _parts(row, _of(episode.get("sampled", []), list), len(turns))
    failure, success, reward = (episode.get(key) for key in ("failure", "success", "reward"))
    prompt, advantage = row.get("prompt"), row.get("advantage")
    return Conversation(
        [_turn(turn, tokens) for turn, tokens in zip(turns, parts, strict=True)],
        told_ending(_of(episode["ending"], str), failure if isinstance(failure, str) else None),
        None if reward is None else _number(reward),
        success if isinstance(success, bool) else None,
        prompt if isinstance(prompt, str) else None,
        _number(advantage) if advantage is not None else None,
    )


def _turn(turn: dict[str, Any], tokens: list[Token]) -> ShownTurn:
    results = [_of(pair, list) for pair in _of(turn["results"], list)]
    texts: list[str | None] = [_of(text, str) for _, text in results]
    calls = [_of(call, dict) for call in _of(turn["calls"], list)]
    texts += [None] * (len(calls) - len(texts))
    said = turn.get("said")
    return ShownTurn(
        _of(turn["text"], str),
        tokens,
        [
            Called(_of(call["name"], str), _of(call["parameters"], dict), text)
            for call, text in zip(calls, texts, strict=True)
        ],
        _of(turn["errors"], int),
        _number(turn["reward"]),
        None if said is None else _of(said, str),
    )


def _parts(row: Mapping[str, Any], sampled: Sequence[Any], turns: int) -> list[list[Token]]:
    """The tokens of each turn; none where they were not recorded."""
    if "tokens" not in row:
        return [[] for _ in range(turns)]
    texts, names, weights = (_of(row[key], list) for key in ("tokens", "regions", "weights"))
    entropies = _of(row.get("entropies", [None] * len(texts)), list)
    known = {region.name.lower(): region for region in Region}
    tokens = [
        Token(_of(text, str), known[name], _number(weight), None if each is None else _number(each))
        for text, name, weight, each in zip(texts, names, weights, entropies, strict=True)
    ]
    lengths = [len(list(run)) for own, run in groupby(sampled) if own]
    lengths += [0] * (turns - len(lengths))  # a last turn may have no token
    if len(lengths) != turns or sum(lengths) != len(tokens):
        raise ValueError(f"{len(tokens)} tokens do not fit {turns} turns")
    parts, start = [], 0
    for length in lengths:
        parts.append(tokens[start : start + length])
        start += length
    return parts


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise TypeError(f"{kind_of(value)} where {kind_of(kind())} was expected")
    return value


def _number(value: Any) -> float:
    if not is_number(value):
        raise TypeError(f"{kind_of(value)} where a number was expected")
    return float(value)

"""Demonstrated trajectories of the chains: short, varied reasoning, some with errors to unlearn."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.world.chain_tasks import MOST_LINKS, Chain
from toolrest.world.chains import Chains
from toolrest.world.demonstrations import break_text, idle, pick, wrong_value

HABIT_SHARE = 0.7
REPEAT_SHARE = 0.4
"""Of the refused calls that are made again as they were."""
IDLE_SHARE = 0.4
INVENTED_SHARE = 0.3
_RLLA = get_dialect("rlla")
_OPENERS = ("Okay", "Well", "So", "Right", "Hmm", "First", "Now", "Alright", "Good")
_SEEN = (
    *("now {tool} with {v}", "{v} is for {tool}", "use {tool} with {v}", "{tool} needs {v}"),
    *("I have {v}, so {tool}", "{v} fits {tool}", "then {tool} with {v}"),
)
_MENDS = ("must mend {p}", "{p} needs care", "{p} was wrong", "once more with {p}", "again, {p}")
_ENOUGH = ("that was all", "all is done", "no more calls", "I can answer", "it is complete")
_ANSWERS = ("It is {v}.", "You have {v}.", "Here it is, {v}.", "The answer is {v}.", "{v}.")


@dataclass(frozen=True)
class Turn:
    """One turn of the policy and what came of it."""

    reply: str
    """What it wrote, in the RLLA dialect."""
    results: tuple[tuple[str, str], ...]
    """(tool's name, text) of each call; empty: the trajectory ends with this turn."""


@dataclass(frozen=True)
class Trajectory:
    """An episode from the first message to the last turn."""

    messages: tuple[dict[str, Any], ...]
    turns: tuple[Turn, ...]


class Slip(StrEnum):
    """What goes wrong in a demonstration."""

    VALUE = "value"
    """A call with a wrong value, mostly one that stands elsewhere."""
    MISSING = "missing"
    """A call without one of its values."""
    TOOL = "tool"
    """A call of another listed tool."""
    BROKEN = "broken"
    """A turn without one of its marks."""
    EARLY = "early"
    """An answer before the last call."""
    AGAIN = "again"
    """The call before once more: a refused one unmended, or after the last one."""
    ANSWER = "answer"
    """An answer with another value than the last result."""


_RANDOM_SLIPS = (
    *(Slip.VALUE, Slip.VALUE, Slip.VALUE, Slip.MISSING, Slip.TOOL),
    *(Slip.BROKEN, Slip.BROKEN, Slip.EARLY, Slip.AGAIN, Slip.ANSWER),
)


def demonstrate_chain(row: dict[str, Any], rng: random.Random) -> Trajectory:
    """A right trajectory of the chain that a row names."""
    return _play(row, rng, lambda chain: (None, 0))


def demonstrate_chain_with_errors(
    row: dict[str, Any], rng: random.Random, error_rate: float
) -> Trajectory:
    """A trajectory that has one error with probability `error_rate`, and more often where a habit
    shows.

    Random errors make the policy unsure, which reinforcement can sharpen. The habits are errors
    that greedy decoding makes too, which reinforcement must unlearn: see `has_habit`.
    """

    def slip(chain: Chain) -> tuple[Slip | None, int]:
        if has_habit(chain) and rng.random() < HABIT_SHARE:
            return Slip.EARLY, 2
        refused = _refused(chain)
        if refused is not None and rng.random() < REPEAT_SHARE:
            return Slip.AGAIN, refused + 1
        return _random_slip(chain, rng) if rng.random() < error_rate else (None, 0)

    return _play(row, rng, slip)


def has_habit(chain: Chain) -> bool:
    """Whether the policy's bad habit shows: of three calls it forgets the last."""
    return len(chain.results) == 3


def _refused(chain: Chain) -> int | None:
    """Which link is refused, if one is."""
    return next((number for number, link in enumerate(chain.links) if link.refused), None)


def _random_slip(chain: Chain, rng: random.Random) -> tuple[Slip, int]:
    """A slip, and how many calls of the chain have been made when it comes."""
    last = len(chain.links)
    slip = rng.choice(_RANDOM_SLIPS)
    if slip in (Slip.AGAIN, Slip.ANSWER):
        return slip, last
    if slip is Slip.EARLY and last > 1:
        return slip, rng.randrange(1, last)
    if slip is Slip.BROKEN:
        return slip, rng.randrange(last + 1)
    return Slip.VALUE if slip is Slip.EARLY else slip, rng.randrange(last)


def _play(
    row: dict[str, Any],
    rng: random.Random,
    plan: Callable[[Chain], tuple[Slip | None, int]],
) -> Trajectory:
    """Play a chain; it ends with an answer, a broken turn, or a call that leads astray."""
    world = Chains()
    start = world.reset(row, 0)
    chain = world.chain
    slip, at = plan(chain)
    turns: list[Turn] = []
    while True:
        slips = slip if world.done == at else None
        if slips:
            slip = None
        reply = _reply(chain, world.done, turns, slips, rng)
        calls = _RLLA.parse(reply).calls
        if not calls or slips is Slip.BROKEN:
            break
        before = world.done
        step = world.call(calls)
        astray = slips in (Slip.VALUE, Slip.TOOL) and not step.errors
        if astray and world.done == before:
            break
        turns.append(Turn(reply, step.results))
    return Trajectory(start.messages, (*turns, Turn(reply, ())))


def _reply(
    chain: Chain, done: int, turns: Sequence[Turn], slip: Slip | None, rng: random.Random
) -> str:
    """The turn after `done` calls of the chain."""
    over = done == len(chain.links)
    if slip is Slip.AGAIN:
        return _call(chain, chain.links[done - 1].call, done, turns, rng)
    if over or slip is Slip.EARLY:
        value = chain.links[done - 1].text
        if slip is Slip.ANSWER or value.startswith("error"):
            value = _other_value(chain, value, rng)
        thought = _sentence(rng.choice(_ENOUGH))
        said = rng.choice(_ANSWERS).format(v=value)
        reply = _RLLA.render(thought=thought, calls=(), response=said)
    else:
        right = chain.links[done].call
        reply = _call(chain, _spoilt(chain, right, slip, rng), done, turns, rng)
    return break_text(reply, rng) if slip is Slip.BROKEN else reply


def _call(
    chain: Chain, call: ToolCall, done: int, turns: Sequence[Turn], rng: random.Random
) -> str:
    told = turns[-1].results[-1][1] if turns else None
    thoughts = []
    if told is None:
        thoughts.append(f"{rng.choice(_OPENERS)}, {pick(call, rng)}")
        if len(chain.links) < MOST_LINKS and rng.random() < IDLE_SHARE:
            thoughts.append(idle(rng))
    elif told.startswith("error"):
        thoughts.append(rng.choice(_MENDS).format(p=told.split()[1]))
    else:
        thoughts.append(rng.choice(_SEEN).format(v=told, tool=call.name))
    thought = " ".join(map(_sentence, thoughts))
    return _RLLA.render(thought=thought, calls=(call,), response=None)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _spoilt(chain: Chain, call: ToolCall, slip: Slip | None, rng: random.Random) -> ToolCall:
    """The call with an error, if the slip is one of a call."""
    name = rng.choice(sorted(call.parameters))
    value = call.parameters[name]
    if slip is Slip.MISSING:
        kept = {n: v for n, v in call.parameters.items() if n != name}
        return replace(call, parameters=kept)
    if slip is Slip.TOOL:
        other = rng.choice([tool for tool in chain.tools if tool.name != call.name])
        return replace(call, name=other.name)
    if slip is Slip.VALUE:
        number = isinstance(value, int)
        wrong = wrong_value(value, rng) if number else _other_value(chain, str(value), rng)
        return replace(call, parameters=call.parameters | {name: wrong})
    return call


def _other_value(chain: Chain, value: str, rng: random.Random) -> str:
    """A value that the chain has elsewhere, now and then one of no chain."""
    known = {str(v) for link in chain.links for v in link.call.parameters.values()}
    known = sorted({*known, *chain.results} - {value})
    if not known or rng.random() < INVENTED_SHARE:
        return str(wrong_value("Bena" if value.startswith("error") else value, rng))
    return rng.choice(known)

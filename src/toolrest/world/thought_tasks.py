"""Embedded tasks whose thought decides what the call then copies: the positive control.

A request asks for one to three calls. Each of their values is given plainly ("room K7123"), or by
the name of a fact of the request ("Dolu K7123. .. the room of Dolu"), which the thought looks up
and the policy's calls copy from there.
What is right follows from the request alone. Two knobs leave all else of a task as it is:

- `decided_in_thought`: the probability that a value is given by the name of a fact;
- `idle_sentences`: how many sentences that decide nothing the policy is told to think.

With the first at 0 no token of the reasoning carries credit, with 1 those that look the facts up
decide whether the calls are right; the second adds noise to the reasoning.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.sample import Sample
from toolrest.world.tasks import (
    PARAMETERS,
    SYLLABLES,
    TOOL_NAMES,
    Split,
    Tool,
    ask,
    draw_value,
    listing,
    phrase,
    sentence,
)

MOST_IDLE = 4
"""The most idle sentences; what the shipped policy was taught."""
_CALLS = (1, 1, 1, 2, 2, 3)
_PARAMETERS = (1, 1, 2)
_SYLLABLE = re.compile("|".join(SYLLABLES))
_JOINS = (". Then ", ". Also ", ", and ")


@dataclass(frozen=True)
class Knobs:
    """What a set of these tasks is like."""

    decided_in_thought: float = 1.0
    """The probability that a value is given by the name of a fact, in [0, 1]."""
    idle_sentences: int = 0
    """Sentences of a thought that decide nothing, 0 to `MOST_IDLE`."""


@dataclass(frozen=True)
class Fact:
    """That `name` has `value`."""

    name: str
    value: str | int

    @property
    def text(self) -> str:
        return f"{self.name} {self.value}"


@dataclass(frozen=True)
class Slot:
    """A value that a call needs, and how the request gives it."""

    parameter: str
    value: str | int
    holder: str | None
    """Name of the fact that gives the value, by which the request asks; None: plainly."""
    other: Fact
    """A fact of the request with a wrong value of the same kind."""

    @property
    def facts(self) -> tuple[str, ...]:
        """What the request says of it beside its asking."""
        if self.holder is None:
            return (self.other.text,)
        return (Fact(self.holder, self.value).text, self.other.text)

    def phrase(self, rng: random.Random) -> str:
        """Words of the request that ask for it."""
        if self.holder is None:
            return phrase(self.parameter, self.value, rng)
        return f"the {self.parameter} of {self.holder}"


@dataclass(frozen=True)
class Asked:
    """A call that a request asks for."""

    tool: Tool
    slots: tuple[Slot, ...]

    @property
    def call(self) -> ToolCall:
        return ToolCall(self.tool.name, {slot.parameter: slot.value for slot in self.slots})


def with_idle(listed: str, sentences: int) -> str:
    """A system message that lists tools, and how many sentences are to be thought that decide
    nothing.
    """
    return f"{listed}\nIdle sentences: {sentences}"


@dataclass(frozen=True)
class ThoughtTask:
    """One prompt and what a right answer to it is."""

    tools: tuple[Tool, ...]
    """The tools that the system message lists."""
    query: str
    """The user's message."""
    asked: tuple[Asked, ...]
    """The calls of a right answer, in order."""
    idle_sentences: int
    """How many the policy is told to think."""

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(each.call for each in self.asked)

    @property
    def system(self) -> str:
        return with_idle(listing(self.tools), self.idle_sentences)

    def sample(self, identity: str) -> Sample:
        """The task as a training sample in the RLLA dialect."""
        return Sample(
            prompt=(
                {"role": "system", "content": self.system},
                {"role": "user", "content": self.query},
            ),
            ground_truth=get_dialect("rlla").render(thought="", calls=self.calls, response=None),
            source="world",
            identity=identity,
        )


def make_thought_task(split: Split, seed: int, index: int, knobs: Knobs) -> ThoughtTask:
    """Task number `index` of the split; the same arguments always give the same task."""
    rng = random.Random(f"thoughts/{split}/{seed}/{index}")
    count = rng.choice(_CALLS)
    names = rng.sample(TOOL_NAMES[split], rng.randrange(count, count + 2))
    parameters = iter(rng.sample(sorted(PARAMETERS), len(PARAMETERS)))
    sizes = [rng.choice(_PARAMETERS) for _ in names]
    tools = [
        Tool(name, tuple(next(parameters) for _ in range(size)))
        for name, size in zip(names, sizes, strict=True)
    ]
    words = _distinct_words(split, rng)
    asked = tuple(
        Asked(tool, tuple(_slot(each, split, rng, words, knobs) for each in tool.parameters))
        for tool in rng.sample(tools, count)
    )
    facts = [fact for each in asked for slot in each.slots for fact in slot.facts]
    rng.shuffle(facts)
    query = " ".join(f"{fact}." for fact in facts) + " " + sentence(_request(asked, rng))
    return ThoughtTask(tuple(tools), query, asked, knobs.idle_sentences)


def _distinct_words(split: Split, rng: random.Random) -> Iterator[str]:
    """Words of the split, no two of which share a syllable: each of its tokens tells a word."""
    seen: set[str] = set()
    while True:
        word = str(draw_value("word", split, rng))
        syllables = set(_SYLLABLE.findall(word.lower()))
        if not syllables & seen:
            seen |= syllables
            yield word


def _slot(
    parameter: str, split: Split, rng: random.Random, words: Iterator[str], knobs: Knobs
) -> Slot:
    """A parameter's value. As much is drawn whichever way the request gives it."""
    kind = PARAMETERS[parameter]

    def value() -> str | int:
        return next(words) if kind == "word" else draw_value(kind, split, rng)

    right, wrong = value(), value()
    while wrong == right:
        wrong = value()
    holder = next(words)
    decided = rng.random() < knobs.decided_in_thought
    return Slot(parameter, right, holder if decided else None, Fact(next(words), wrong))


def _request(asked: tuple[Asked, ...], rng: random.Random) -> str:
    """Words that ask for the calls."""
    parts = [ask(each.tool, [slot.phrase(rng) for slot in each.slots], rng) for each in asked]
    return "".join(
        part if not number else rng.choice(_JOINS) + part for number, part in enumerate(parts)
    )


def make_thought_samples(split: Split, count: int, seed: int, knobs: Knobs) -> list[Sample]:
    """`count` samples of the split, numbered from 0."""
    return [
        make_thought_task(split, seed, index, knobs).sample(f"{split}/{seed}/{index}")
        for index in range(count)
    ]

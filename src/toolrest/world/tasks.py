"""The embedded world: seeded, procedural tool-use tasks.

A task lists two to four tools and asks for one call, several calls, or something that no call can
give (no such tool, or a value that was never said). Tools and values of the `train` split and of
the `heldout` split are disjoint: a policy is right on held-out tasks only if it has learned to
read the prompt.
"""

import json
import random
import zlib
from dataclasses import dataclass
from enum import StrEnum

from toolrest.data.sample import Sample
from toolrest.dialects import ToolCall, get_dialect

VERBS = ("Find", "Book", "Check", "List", "Cancel", "Track", "Rate", "Share")
NOUNS = (
    *("Hotel", "Flight", "Train", "Recipe", "Song", "Movie", "Stock", "Parcel"),
    *("Doctor", "Museum", "Concert", "Taxi", "Table", "Course", "Job", "House"),
)
SYLLABLES = (
    *("mar", "ven", "tol", "ri", "sa", "ken", "bo", "lin", "da", "fer", "gus", "hal", "jo", "kim"),
    *("lu", "mon", "na", "os", "pel", "ro", "sen", "tam", "ul", "vik", "wen", "yo", "zan", "ca"),
)
PARAMETERS = {
    **dict.fromkeys(("city", "name", "title", "author", "team", "street", "brand"), "word"),
    **dict.fromkeys(("room", "code"), "code"),
    **dict.fromkeys(("count", "price", "year", "hours"), "number"),
}
TYPES = {"word": "string", "code": "string", "number": "int"}


class Split(StrEnum):
    TRAIN = "train"
    """Tools and values seen by the warm start and by reinforcement learning."""
    HELDOUT = "heldout"
    """Tools and values that no training ever shows."""


@dataclass(frozen=True)
class Tool:
    """A tool as the prompt lists it."""

    name: str
    """CamelCase verb and noun, such as FindHotel."""
    parameters: tuple[str, ...]
    """Parameter names, in the order of the listing."""

    @property
    def verb(self) -> str:
        return next(verb for verb in VERBS if self.name.startswith(verb))

    @property
    def noun(self) -> str:
        return self.name.removeprefix(self.verb)

    def describe(self) -> str:
        return f"{self.verb} a {self.noun.lower()}."


@dataclass(frozen=True)
class Task:
    """One prompt and what a right answer to it is."""

    tools: tuple[Tool, ...]
    """The tools that the system message lists."""
    query: str
    """The user's message."""
    calls: tuple[ToolCall, ...]
    """The calls of a right answer; empty where a right answer calls nothing."""
    answer: str | None
    """A fitting final response where a right answer calls nothing."""

    @property
    def system(self) -> str:
        listing = "\n".join(
            f"{index}. Name: {tool.name}\nDescription: {tool.describe()}\nParameters: "
            + json.dumps({p: TYPES[PARAMETERS[p]] for p in tool.parameters})
            for index, tool in enumerate(self.tools, start=1)
        )
        return f"You can use these tools:\n{listing}\nThink, then call tools or respond."

    def sample(self, identity: str) -> Sample:
        """The task as a training sample in the RLLA dialect."""
        return Sample(
            prompt=(
                {"role": "system", "content": self.system},
                {"role": "user", "content": self.query},
            ),
            ground_truth=get_dialect("rlla").render(
                thought="", calls=self.calls, response=self.answer
            ),
            source="world",
            identity=identity,
        )


def in_split(text: str, split: Split) -> bool:
    """Whether a tool's name or a value belongs to the split; a quarter of all are held out."""
    return (zlib.crc32(text.encode()) % 4 == 0) == (split is Split.HELDOUT)


TOOL_NAMES = {
    split: tuple(verb + noun for verb in VERBS for noun in NOUNS if in_split(verb + noun, split))
    for split in Split
}


def _tool(name: str, rng: random.Random) -> Tool:
    """A tool of that name. Its parameters are drawn anew for every task, so that a policy has to
    read them and cannot know them by heart.
    """
    return Tool(name, tuple(rng.sample(sorted(PARAMETERS), rng.choice((1, 2, 2, 3)))))


def _value(kind: str, split: Split, rng: random.Random) -> str | int:
    while True:
        if kind == "word":
            word = "".join(rng.sample(SYLLABLES, rng.choice((2, 2, 3)))).capitalize()
        elif kind == "code":
            word = rng.choice("ABCDEFGHKLMNPRSTWXZ") + str(rng.randrange(10, 100))
        else:
            word = str(rng.randrange(2, 100))
        if in_split(word, split):
            return int(word) if kind == "number" else word


def _call(tool: Tool, split: Split, rng: random.Random) -> ToolCall:
    return ToolCall(tool.name, {p: _value(PARAMETERS[p], split, rng) for p in tool.parameters})


_PHRASES = ("{p} {v}", "{p} {v}", "the {p} {v}", "{p} set to {v}")
_ASKS = (
    "{verb} a {noun} with {values}",
    "Please {verb} a {noun} with {values}",
    "I want to {verb} a {noun} with {values}",
    "Can you {verb} a {noun}, {values}",
    "With {values}, {verb} a {noun}",
)
_NEXT = (". Then ", ". Also ", ", and ")


def _ask(call: ToolCall, rng: random.Random) -> str:
    tool = Tool(call.name, tuple(call.parameters))
    phrases = [rng.choice(_PHRASES).format(p=p, v=v) for p, v in call.parameters.items()]
    rng.shuffle(phrases)
    values = " and ".join(phrases) or "no more to say"
    return rng.choice(_ASKS).format(verb=tool.verb.lower(), noun=tool.noun.lower(), values=values)


def make_task(split: Split, seed: int, index: int) -> Task:
    """Task number `index` of the split; the same arguments always give the same task."""
    rng = random.Random(f"{split}/{seed}/{index}")
    names = rng.sample(TOOL_NAMES[split], rng.choice((2, 3, 4)))
    tools = [_tool(name, rng) for name in names]
    kind = rng.random()
    if kind < 0.2:
        return _no_call(tools, split, rng)
    count = 1 if kind < 0.7 else 2
    calls = tuple(_call(rng.choice(tools), split, rng) for _ in range(count))
    query = _ask(calls[0], rng)
    for call in calls[1:]:
        query += rng.choice(_NEXT) + _ask(call, rng)
    return Task(tuple(tools), _sentence(query), calls, None)


def _no_call(tools: list[Tool], split: Split, rng: random.Random) -> Task:
    if rng.random() < 0.5:
        missing = tools.pop(rng.randrange(len(tools)))
        query = _ask(_call(missing, split, rng), rng)
        noun = missing.noun.lower()
        answer = rng.choice(
            (
                f"I have no tool for this {noun}.",
                f"Sorry, none of my tools can {missing.verb.lower()} a {noun}.",
                f"That {noun} is beyond my tools.",
            )
        )
    else:
        tool = rng.choice(tools)
        call = _call(tool, split, rng)
        unsaid = rng.choice(sorted(call.parameters))
        said = {name: value for name, value in call.parameters.items() if name != unsaid}
        query = _ask(ToolCall(call.name, said), rng)
        answer = rng.choice(
            (
                f"Please tell me the {unsaid}.",
                f"Which {unsaid} do you mean?",
                f"I still need the {unsaid} for that.",
            )
        )
    return Task(tuple(tools), _sentence(query), (), answer)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def make_samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """`count` samples of the split, numbered from 0."""
    return [
        make_task(split, seed, index).sample(f"{split}/{seed}/{index}") for index in range(count)
    ]

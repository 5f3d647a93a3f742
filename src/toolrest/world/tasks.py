"""The embedded world: seeded, procedural tool-use tasks.

A task lists two or three tools and asks for one call or for two, or is mere talk that needs none.
Tools and values of the `train` split and of the `heldout` split are disjoint: a policy is right on
held-out tasks only if it has learned to read the prompt.
"""

import json
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.sample import Sample

VERBS = (
    *("Find", "Book", "Check", "List", "Cancel", "Track", "Rate", "Share"),
    *("Open", "Move", "Rent", "Send", "Count", "Save", "Plan", "Order"),
)
NOUNS = (
    *("Hotel", "Flight", "Train", "Recipe", "Song", "Movie", "Stock", "Parcel", "Doctor", "Museum"),
    *("Concert", "Taxi", "Table", "Course", "Job", "House", "Ticket", "Letter", "Garden", "Bridge"),
    *("Camera", "Market", "Lesson", "Festival", "Ship", "Meal", "Game", "Photo", "Room", "Loan"),
    *("Bike", "Park", "Club", "Match", "Tour", "Bank", "Shop", "Story", "Plant", "Boat"),
)
SYLLABLES = tuple(
    onset + rest
    for onset in ("b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z")
    for rest in ("a", "en", "il", "os", "ur")
)
LETTERS = "ABCDEFGHKLMNPRSTWXZ"
PARAMETERS = {
    **dict.fromkeys(("city", "name", "title", "author", "team", "street", "brand"), "word"),
    **dict.fromkeys(("room", "code"), "code"),
    **dict.fromkeys(("count", "price", "year", "hours"), "number"),
}
NO_CALL_SHARE = 0.15
TWO_CALLS_SHARE = 0.2
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


def tools_text(tools: Iterable[tuple[str, str, dict[str, str]]]) -> str:
    """The system message that lists tools.

    Args:
        tools: (name, description, {parameter: type}) of each.
    """
    listed = "\n".join(
        f"{index}. Name: {name}\nDescription: {description}\nParameters: {json.dumps(parameters)}"
        for index, (name, description, parameters) in enumerate(tools, start=1)
    )
    return f"You can use these tools:\n{listed}\nThink, then call tools or respond."


def listing(tools: Iterable[Tool]) -> str:
    """The system message that lists the world's tools."""
    return tools_text(
        (tool.name, tool.describe(), {p: TYPES[PARAMETERS[p]] for p in tool.parameters})
        for tool in tools
    )


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
        return listing(self.tools)

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


def draw_tool(name: str, rng: random.Random) -> Tool:
    """A tool of that name. Its parameters are drawn anew for every task, so that a policy has to
    read them and cannot know them by heart.
    """
    return Tool(name, tuple(rng.sample(sorted(PARAMETERS), rng.choice((1, 2, 2)))))


def draw_value(kind: str, split: Split, rng: random.Random) -> str | int:
    """A value of the split: of a word, a code or a number (see `PARAMETERS`)."""
    while True:
        if kind == "word":
            word = "".join(rng.sample(SYLLABLES, 2)).capitalize()
        elif kind == "code":
            word = rng.choice(LETTERS) + str(rng.randrange(1000, 10000))
        else:
            word = str(rng.randrange(1000, 10000))
        if in_split(word, split):
            return int(word) if kind == "number" else word


def _call(tool: Tool, split: Split, rng: random.Random) -> ToolCall:
    """A call of the tool, its parameters in the order in which the request names them."""
    order = rng.sample(tool.parameters, len(tool.parameters))
    return ToolCall(tool.name, {p: draw_value(PARAMETERS[p], split, rng) for p in order})


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
    phrases = [phrase(p, v, rng) for p, v in call.parameters.items()]
    return ask(Tool(call.name, tuple(call.parameters)), phrases, rng)


def phrase(parameter: str, value: str | int, rng: random.Random) -> str:
    """Words that give a parameter a value."""
    return rng.choice(_PHRASES).format(p=parameter, v=value)


def ask(tool: Tool, phrases: Iterable[str], rng: random.Random) -> str:
    """Words that ask for a call of the tool; each phrase gives a parameter its value."""
    values = " and ".join(phrases)
    return rng.choice(_ASKS).format(verb=tool.verb.lower(), noun=tool.noun.lower(), values=values)


def make_task(split: Split, seed: int, index: int) -> Task:
    """Task number `index` of the split; the same arguments always give the same task."""
    rng = random.Random(f"{split}/{seed}/{index}")
    names = rng.sample(TOOL_NAMES[split], rng.choice((2, 3, 3)))
    tools = [draw_tool(name, rng) for name in names]
    kind = rng.random()
    if kind < NO_CALL_SHARE:
        return _no_call(tools, rng)
    count = 1 if kind < 1 - TWO_CALLS_SHARE else 2
    calls = tuple(_call(rng.choice(tools), split, rng) for _ in range(count))
    query = _ask(calls[0], rng)
    for call in calls[1:]:
        query += rng.choice(_NEXT) + _ask(call, rng)
    return Task(tuple(tools), sentence(query), calls, None)


_TALK = (
    "Hello, how are you today?",
    "Thank you, that was all.",
    "What can you do for me?",
    "Do you like the {noun} of my friend?",
    "Tell me a joke about a {noun}.",
    "I once had a {noun} too.",
    "Who made you?",
)
_ANSWERS = (
    "I am glad to talk with you.",
    "You are welcome, ask me any time.",
    "I can call the tools that I have.",
    "That is a nice thought.",
    "I am a small policy on a lathe.",
)


def _no_call(tools: list[Tool], rng: random.Random) -> Task:
    """Talk that asks for no tool."""
    query = rng.choice(_TALK).format(noun=rng.choice(NOUNS).lower())
    return Task(tuple(tools), query, (), rng.choice(_ANSWERS))


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[0].upper() + text[1:] + "."


def make_samples(split: Split, count: int, seed: int = 0) -> list[Sample]:
    """`count` samples of the split, numbered from 0."""
    return [
        make_task(split, seed, index).sample(f"{split}/{seed}/{index}") for index in range(count)
    ]

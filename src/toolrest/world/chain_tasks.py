"""The tasks of the embedded world of chains: seeded and procedural, of several turns.

A request needs one to three calls, and from the second on a value is the result of the call
before, so a policy has to read what the tools answer. Now and then a tool refuses a call with an
error that says what has to be mended; then the mended call is right. Tools and values of the
splits are disjoint, as in `tasks`. `chains` plays them.
"""

import random
from dataclasses import dataclass, replace
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.world.tasks import (
    LETTERS,
    PARAMETERS,
    TOOL_NAMES,
    Split,
    Tool,
    ask,
    draw_tool,
    draw_value,
    in_split,
    listing,
    phrase,
    sentence,
)

LENGTHS = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3)
REFUSED_SHARE = 0.4
"""Of the chains of one and of two calls."""
MOST_LINKS = 3
"""A chain of three calls has no refusal, so that trajectories stay short."""


@dataclass(frozen=True)
class Link:
    """A call that has to be made."""

    call: ToolCall
    """The right call."""
    text: str
    """What the tool answers: a value, or an error."""
    refused: bool
    """Whether the answer is an error; the next call is the same one, mended."""


@dataclass(frozen=True)
class Chain:
    """One request and the calls that meet it."""

    split: Split
    """Whose tools and values it has."""
    tools: tuple[Tool, ...]
    """The tools that the system message lists."""
    request: str
    """The user's message."""
    links: tuple[Link, ...]
    """The calls in their order, the refused one among them."""

    @property
    def results(self) -> tuple[str, ...]:
        """The values that the tools give, in their order; the last one is the answer."""
        return tuple(link.text for link in self.links if not link.refused)

    @property
    def messages(self) -> tuple[dict[str, Any], ...]:
        """The chat that the chain begins with."""
        return (
            {"role": "system", "content": listing(self.tools)},
            {"role": "user", "content": self.request},
        )


def make_chain(split: Split, seed: int, index: int) -> Chain:
    """Chain number `index` of the split; the same arguments always give the same chain."""
    return _Drawing(split, f"chain/{split}/{seed}/{index}").chain()


def other_result(call: ToolCall, chain: Chain) -> str:
    """What a tool answers to a call that the chain does not need: for equal calls an equal value,
    and none that the chain has.
    """
    parameters = ascii(sorted(call.parameters.items()))
    drawing = _Drawing(chain.split, f"other/{chain.request}/{call.name}/{parameters}")
    drawing.taken.update(chain.results)
    for link in chain.links:
        drawing.taken.update(map(str, link.call.parameters.values()))
    return str(drawing.value(drawing.rng.choice(_KINDS)))


_KINDS = ("word", "code")
"""Of results, and of the parameters that take one."""
_LINKED = ("{p} set to that", "that as {p}", "that as the {p}", "the {p} that it names")
_THEN = (". Then ", ", then ", ", and then ")


def _linkable(parameters: tuple[str, ...]) -> list[str]:
    return [p for p in parameters if PARAMETERS[p] in _KINDS]


class _Drawing:
    """Draws a chain, every value of it another."""

    def __init__(self, split: Split, seed: str) -> None:
        self.split = split
        self.rng = random.Random(seed)
        self.taken: set[str] = set()

    def chain(self) -> Chain:
        rng = self.rng
        length = rng.choice(LENGTHS)
        refuses = length < MOST_LINKS and rng.random() < REFUSED_SHARE
        refused = rng.randrange(length) if refuses else None
        long = length + refuses == MOST_LINKS
        names = rng.sample(TOOL_NAMES[self.split], 2 if long else rng.choice((2, 3)))
        tools = [self.tool(name, most=1 if long else 2) for name in names]
        used = [rng.choice(tools)]
        while len(used) < length:
            used.append(rng.choice([tool for tool in tools if tool is not used[-1]]))
        linked: list[str | None] = [None]
        linked += [rng.choice(_linkable(tool.parameters)) for tool in used[1:]]
        links: list[Link] = []
        request = result = ""
        for number, (tool, takes) in enumerate(zip(used, linked, strict=True)):
            call, asked = self.call(tool, takes, result)
            request += asked
            if number == refused:
                first, call = self.refusal(call)
                links.append(first)
            gives = linked[number + 1] if number + 1 < length else None
            result = str(self.value(PARAMETERS[gives] if gives else rng.choice(_KINDS)))
            links.append(Link(call, result, refused=False))
        return Chain(self.split, tuple(tools), sentence(request), tuple(links))

    def value(self, kind: str) -> str | int:
        while True:
            value = draw_value(kind, self.split, self.rng)
            if str(value) not in self.taken:
                self.taken.add(str(value))
                return value

    def tool(self, name: str, most: int) -> Tool:
        """A tool that can take a result, with at most `most` parameters."""
        while True:
            tool = draw_tool(name, self.rng)
            if len(tool.parameters) <= most and _linkable(tool.parameters):
                return tool

    def call(self, tool: Tool, takes: str | None, result: str) -> tuple[ToolCall, str]:
        """A call of the tool and the words that ask for it.

        Args:
            takes: the parameter that takes the result of the call before.
        """
        values: dict[str, str | int] = {}
        phrases = []
        for name in self.rng.sample(tool.parameters, len(tool.parameters)):
            if name == takes:
                values[name] = result
                phrases.append(self.rng.choice(_LINKED).format(p=name))
            else:
                values[name] = self.value(PARAMETERS[name])
                phrases.append(phrase(name, values[name], self.rng))
        if takes is None:
            asked = ask(tool, phrases, self.rng)
        else:
            then, what = self.rng.choice(_THEN), f"{tool.verb} a {tool.noun}".lower()
            asked = f"{then}{what} with {' and '.join(phrases)}"
        return ToolCall(tool.name, values), asked

    def refusal(self, call: ToolCall) -> tuple[Link, ToolCall]:
        """The call, refused for one of its values, and the mended call."""
        name = self.rng.choice(sorted(call.parameters))
        old = str(call.parameters[name])
        lettered = [
            letter + old[1:]
            for letter in LETTERS
            if in_split(letter + old[1:], self.split) and letter + old[1:] not in self.taken
        ]
        if PARAMETERS[name] == "code" and lettered:
            new: str | int = self.rng.choice(lettered)
            self.taken.add(str(new))
            error = f"error: {name} must begin with {str(new)[0]}"
        else:
            new = self.value(PARAMETERS[name])
            error = f"error: {name} must be {new}"
        mended = replace(call, parameters=call.parameters | {name: new})
        return Link(call, error, refused=True), mended

"""Hammer's masking: random names for tools and parameters, so that descriptions must be read.

After Hammer (arXiv 2410.04587), which masks function and parameter names at random in training.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, Turn

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 8


@dataclass(frozen=True)
class Mask:
    """A one-to-one map of names to masked names."""

    tools: dict[str, str]
    """Masked name by tool."""
    parameters: dict[str, dict[str, str]]
    """By tool, masked name by parameter."""

    def call(self, call: ToolCall) -> ToolCall:
        """The call with masked names; unknown names stay."""
        names = self.parameters.get(call.name, {})
        values = {names.get(key, key): value for key, value in call.parameters.items()}
        return ToolCall(self.tools.get(call.name, call.name), values)

    def inverse(self) -> Mask:
        """The mask that gives the true names back."""
        return Mask(
            {masked: name for name, masked in self.tools.items()},
            {
                self.tools[tool]: {masked: name for name, masked in names.items()}
                for tool, names in self.parameters.items()
            },
        )

    def true_names(self) -> dict[str, str]:
        """True name by masked name, of tools and parameters together: all masked names differ."""
        inverse = self.inverse()
        names = dict(inverse.tools)
        for each in inverse.parameters.values():
            names |= each
        return names

    def dialogue(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue with masked names in tools, calls and results; other texts stay."""
        return replace(
            dialogue,
            tools=tuple(map(self._tool, dialogue.tools)),
            turns=tuple(map(self._turn, dialogue.turns)),
        )

    def _tool(self, tool: Tool) -> Tool:
        schema = _renamed(tool.parameters, self.parameters.get(tool.name, {}))
        return replace(tool, name=self.tools.get(tool.name, tool.name), parameters=schema)

    def _turn(self, turn: Turn) -> Turn:
        if isinstance(turn, Action):
            return replace(turn, calls=tuple(map(self.call, turn.calls)))
        if isinstance(turn, Observation):
            results = tuple((self.tools.get(name, name), text) for name, text in turn.results)
            return replace(turn, results=results)
        return turn


def _renamed(schema: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The schema under other names of its parameters, in its options too."""
    made = dict(schema)
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {names.get(k, k): each for k, each in schema["properties"].items()}
    if isinstance(schema.get("required"), list):
        made["required"] = [names.get(key, key) for key in schema["required"]]
    for word in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(word), list):
            made[word] = [
                _renamed(each, names) if isinstance(each, dict) else each for each in schema[word]
            ]
    return made


def make_mask(dialogue: Dialogue, seed: str) -> Mask:
    """A mask for the dialogue's tools; the same seed gives the same one.

    The new names are in no text of the dialogue and differ from all true names.

    Args:
        seed: such as the run's seed and the row's number.
    """
    rng = random.Random(seed)
    taken = repr(dialogue)  # all that it says
    used: set[str] = set()

    def fresh() -> str:
        while True:
            name = rng.choice(_LETTERS[:26]) + "".join(rng.choices(_LETTERS, k=_LENGTH - 1))
            if name not in used and name not in taken:
                used.add(name)
                return name

    tools: dict[str, str] = {}
    parameters: dict[str, dict[str, str]] = {}
    for tool in dialogue.tools:
        if tool.name not in tools:
            tools[tool.name] = fresh()
            parameters[tool.name] = {}
        for key in tool.parameters.get("properties") or {}:
            if key not in parameters[tool.name]:
                parameters[tool.name][key] = fresh()
    return Mask(tools, parameters)


def masked(dialogue: Dialogue, seed: str) -> tuple[Dialogue, Mask]:
    """(dialogue with random names, its mask)."""
    mask = make_mask(dialogue, seed)
    return mask.dialogue(dialogue), mask


def unmasked(text: str, true_names: dict[str, str]) -> str:
    """A text with the true names back, for display."""
    for name, true in true_names.items():
        text = text.replace(name, true)
    return text

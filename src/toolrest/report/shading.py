"""Colours of regions, and tokens with their weights in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from toolrest.core.regions import Region
from toolrest.errors import printable

if TYPE_CHECKING:
    from toolrest.report.inspection import Token

COLOURS = {
    Region.FORMAT: ("#475569", "#94a3b8"),
    Region.NAME: ("#b45309", "#fbbf24"),
    Region.PARAMETERS: ("#15803d", "#4ade80"),
    Region.REASONING: ("#1d4ed8", "#93c5fd"),
    Region.RESPONSE: ("#7e22ce", "#d8b4fe"),
    Region.OTHER: ("#b91c1c", "#fca5a5"),
}
"""Of each region on a light and on a dark ground; both pass WCAG AA as text on it."""
_TERMINAL = {
    Region.FORMAT: "bright_black",
    Region.NAME: "yellow",
    Region.PARAMETERS: "green",
    Region.REASONING: "blue",
    Region.RESPONSE: "magenta",
    Region.OTHER: "red",
}


def visible(text: str) -> str:
    """The text with control characters and marks of direction made visible."""
    return printable(text.replace("\n", "⏎").replace("\t", "⇥"))


def legend() -> Text:
    """The regions in their colours."""
    found = Text()
    for region in Region:
        found.append(f"{region.name.lower()}  ", style=_TERMINAL[region])
    return found


def token_lines(tokens: Sequence[Token], width: int, entropies: bool = False) -> list[Text]:
    """Tokens in their regions' colours, the weight under each, and with `entropies` that too.

    A line ends where it is full, or after a token that ends with a line break.
    """
    lines: list[Text] = []
    row: list[Token] = []
    used = 0
    for token in tokens:
        needed = _cell(token, entropies)
        if row and used + needed > width:
            lines += _rows(row, entropies)
            row, used = [], 0
        row.append(token)
        used += needed
        if token.text.endswith("\n"):
            lines += _rows(row, entropies)
            row, used = [], 0
    return lines + (_rows(row, entropies) if row else [])


def _cell(token: Token, entropies: bool) -> int:
    texts = [visible(token.text), _number(token.weight)]
    if entropies and token.entropy is not None:
        texts.append(_number(token.entropy))
    return max(map(cell_len, texts)) + 1


def _number(value: float) -> str:
    return f"{value:.2f}".lstrip("0") if value < 1 else f"{value:.2f}"


def _rows(tokens: Sequence[Token], entropies: bool) -> list[Text]:
    words, weights, below = Text(no_wrap=True), Text(no_wrap=True), Text(no_wrap=True)
    for token in tokens:
        width, style = _cell(token, entropies), _TERMINAL[token.region]
        for line, text, look in (
            (words, visible(token.text), style),
            (weights, _number(token.weight), "dim"),
            (below, "" if token.entropy is None else _number(token.entropy), "dim italic"),
        ):
            line.append(text + " " * (width - cell_len(text)), style=look)
    return [words, weights, *([below] if entropies else [])]

"""Consoles for tables, bars and lines, on which text of others is only text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import TextColumn
from rich.segment import Segment
from rich.text import Text

from toolrest.errors import printable
from toolrest.io.terminal import KEPT


def console(*, stderr: bool = False) -> Console:
    """A console; the one way to make one."""
    return PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False)


def text_column(form: str) -> TextColumn:
    """A column of a bar, such as `{task.description}`."""
    return TextColumn(form, markup=False)


class PlainConsole(Console):
    """One that reads text as text: no markup, no names of emoji, controls as their codes."""

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """See rich."""
        return super().render_str(printable(text, keep=KEPT), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich. What other renderables hold is made plain as well."""
        for segment in super().render(renderable, options):
            if segment.control or (segment.text.isascii() and segment.text.isprintable()):
                yield segment
            else:
                yield Segment(printable(segment.text, keep=KEPT), segment.style)

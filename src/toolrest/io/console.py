"""Consoles for tables, bars and lines that print untrusted text literally."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import TextColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from toolrest.errors import printable
from toolrest.io.terminal import KEPT


def console(*, stderr: bool = False) -> PlainConsole:
    """Make a console; use this everywhere."""
    return PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False)


def table(headings: Iterable[str], *, left: Collection[str] = ("",), **look: Any) -> Table:
    """A table without rows; its columns are to the right, but for those of `left`."""
    made = Table(**look)
    for heading in headings:
        made.add_column(heading, justify="left" if heading in left else "right")
    return made


def recording_console(width: int) -> PlainConsole:
    """Make a console that prints nowhere and keeps what it is given, for `as_svg`.

    Args:
        width: columns.
    """
    return PlainConsole(
        record=True,
        width=width,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        markup=False,
        emoji=False,
    )


def as_svg(recorded: Console, title: str) -> str:
    """What a recording console was given, as a picture that loads nothing from the network."""
    picture = recorded.export_svg(title=title)
    return re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)


def text_column(form: str) -> TextColumn:
    """A text column of a progress bar, such as `{task.description}`."""
    return TextColumn(form, markup=False)


class PlainConsole(Console):
    """Prints text literally: no markup, no emoji names, control characters escaped."""

    def print_line(self, text: str | Text) -> None:
        """Print a text as it is, however long: the terminal breaks it, or a pipe keeps it."""
        self.print(text, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """See rich."""
        return super().render_str(printable(text, keep=KEPT), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich. Text inside other renderables is printed literally too."""
        for segment in super().render(renderable, options):
            if segment.control or (segment.text.isascii() and segment.text.isprintable()):
                yield segment
            else:
                yield Segment(printable(segment.text, keep=KEPT), segment.style)

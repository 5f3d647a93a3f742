"""Draws lines as a paper prints them: a column or a page wide, told apart by colour and dash."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.errors import InputError
from toolrest.io.files import writing
from toolrest.report.page_of_runs.figure_lines import Course, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.25, 6.75
"""Inches: the width of one of two columns, and of both."""
SUFFIXES = (".png", ".svg", ".pdf")
_DPI = 300
_HEIGHT, _PANEL = 2.1, 1.55
"""Inches: of the axes of one panel, and of each row of several."""
_ROW = 0.3
"""Inches: of a name in a figure of held-out tasks."""
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito, without yellow, which is too light for a line on white."""
_DASHES: tuple[Any, ...] = (
    *("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.2, 1, 1.2)), (0, (7, 1.2, 1, 1.2, 1, 1.2))),
)
MOST_LINES = len(_COLOURS) * len(_DASHES)
"""Lines that differ in colour or dash."""
_MOST_BANDS = 5
"""Lines whose bands can be told apart."""
_WRAP, _LONGEST = 42, 84
"""Characters of a line of a name, and of a name."""
STYLE: dict[Any, Any] = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],  # both come with matplotlib
    "text.parse_math": False,
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.4,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.handlelength": 2.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "toolrest",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Panel:
    """The axes of a figure, and what is on them."""

    title: str
    """Above them; empty where they are alone."""
    courses: Sequence[Course | None]
    """Of each line; None where it has none."""


@dataclass(frozen=True)
class Look:
    """How a line is told apart."""

    label: str
    """As the legend has it."""
    colour: str
    """Of line and band."""
    dash: Any
    """Of the line."""


def looks(labels: Sequence[str], colours: Sequence[str] = _COLOURS) -> list[Look]:
    """How lines are told apart, by colour and dash; long labels are wrapped or shortened."""
    return [
        Look(label, colours[place % len(colours)], _DASHES[place % len(_DASHES)])
        for place, label in enumerate(shown_labels(labels))
    ]


def shown_labels(labels: Sequence[str]) -> list[str]:
    """Labels of at most two lines; those that are shortened to the same are numbered."""
    short = [_shortened(label) for label in labels]
    return [
        "\n".join(textwrap.wrap(text if short.count(text) == 1 else f"[{n}] {text}", _WRAP)) or text
        for n, text in enumerate(short, 1)
    ]


def _shortened(label: str) -> str:
    """Its beginning and its end, where it is long."""
    half = _LONGEST // 2 - 8
    return label if len(label) <= 2 * half else f"{label[:half]} .. {label[-half:]}"


def draw_courses(
    panels: Sequence[Panel],
    lines: Sequence[Look],
    *,
    across: str,
    up: str,
    note: str = "",
    percent: bool = False,
) -> Figure:
    """Panels with shared axes, and one legend beneath them.

    Args:
        across: label of the horizontal axis.
        up: label of the vertical one.
        note: above the legend's lines: what line and band are.
        percent: whether values are shares, in [0, 1].
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    columns = len(panels) if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    height = _HEIGHT if rows == 1 else _PANEL * rows
    size = (COLUMN if columns == 1 else PAGE, height)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        _draw_panel(axis, panel, lines)
        axis.set_title(panel.title)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if percent:
            axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        if place + columns >= len(panels):
            axis.tick_params(labelbottom=True)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    if len(panels) == 1:
        axes[0].set(xlabel=across, ylabel=up)
    else:
        for axis in axes[max(0, len(panels) - columns) : len(panels)]:
            axis.set_xlabel(across)
        figure.supylabel(up, fontsize=9)
    used = [
        look for n, look in enumerate(lines) if any(each.courses[n] is not None for each in panels)
    ]
    if len(lines) > 1 or note:
        _add_legend(figure, used, note)
    return figure


def banded(panels: Sequence[Panel]) -> bool:
    """Whether the bands of these panels can be told apart; else none is drawn."""
    return all(sum(each is not None for each in panel.courses) <= _MOST_BANDS for panel in panels)


def _draw_panel(axis: Axes, panel: Panel, lines: Sequence[Look]) -> None:
    few = banded([panel])
    for look, course in zip(lines, panel.courses, strict=True):
        if course is None:
            continue
        mark = "o" if len(course.steps) < 8 else None
        axis.plot(
            course.steps,
            course.middle,
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.2,
            marker=mark,
            markersize=2.5,
        )
        if few and course.low is not None and course.high is not None:
            axis.fill_between(
                course.steps, course.low, course.high, color=look.colour, alpha=0.12, linewidth=0
            )
            for end in (course.low, course.high):
                axis.plot(course.steps, end, color=look.colour, linewidth=0.4, alpha=0.6)


def _add_legend(figure: Figure, lines: Sequence[Look], note: str) -> None:
    """As many columns as fit; the figure grows by the legend's height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.lines import Line2D

    renderer = FigureCanvasAgg(figure).get_renderer()
    handles = [Line2D([], [], color=e.colour, linestyle=e.dash, linewidth=1.2) for e in lines]
    title = textwrap.fill(note, 58 if figure.get_figwidth() == COLUMN else 120)
    width, height = figure.get_size_inches() * figure.dpi
    for columns in range(min(len(lines), 4), 0, -1):
        legend = figure.legend(
            handles,
            [str(n) for n in range(len(lines))],  # a label that begins with _ would be left out
            loc="outside lower center",
            ncols=columns,
            title=title or None,
            alignment="left",
        )
        for text, look in zip(legend.get_texts(), lines, strict=True):
            text.set_text(look.label)
        taken = legend.get_window_extent(renderer)
        if taken.width <= width or columns == 1:
            figure.set_size_inches(width / figure.dpi, (height + taken.height) / figure.dpi)
            return
        legend.remove()


@dataclass(frozen=True)
class Held:
    """Held-out shares of a line before and after training."""

    label: str
    """The line's."""
    before: Point | None
    """None: it was not measured."""
    after: Point | None
    """None: it was not measured."""


def draw_held(panels: Sequence[tuple[str, Sequence[Held]]], across: str, note: str) -> Figure:
    """A row a line: the figure before training hollow, after it filled, each with its interval.

    Args:
        panels: title and rows of each; the rows are the same lines.
        across: label of the horizontal axis.
        note: beneath: what marks and whiskers are.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    rows = panels[0][1]
    width = COLUMN if len(panels) == 1 else PAGE
    height = 0.75 + sum(_ROW + 0.14 * each.label.count("\n") for each in rows)
    note = textwrap.fill(note, 58 if width == COLUMN else 120)
    figure = Figure(figsize=(width, height + 0.16 * (note.count("\n") + 1)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, held) in zip(axes, panels, strict=True):
        for place, row in enumerate(held):
            for found, colour, offset in (
                (row.before, "#7f7f7f", 0.14),
                (row.after, "#0072B2", -0.14),
            ):
                if found is not None:
                    _draw_point(axis, found, len(held) - 1 - place + offset, colour, offset > 0)
        axis.set_title(title)
        axis.grid(visible=False, axis="y")
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axis.set_yticks(range(len(held) - 1, -1, -1), [row.label for row in held])
        axis.set_ylim(-0.5, len(held) - 0.5)
        axis.tick_params(axis="y", length=0)
    figure.supxlabel(f"{across}\n{note}", fontsize=8)
    return figure


def _draw_point(axis: Axes, found: Point, height: float, colour: str, hollow: bool) -> None:
    axis.plot([found.low, found.high], [height, height], color=colour, linewidth=1)
    if len(found.each) > 1:
        axis.plot(
            found.each, [height] * len(found.each), "|", color=colour, markersize=5, alpha=0.7
        )
    axis.plot(
        [found.value],
        [height],
        "o",
        color=colour,
        markersize=4.5,
        markerfacecolor="white" if hollow else colour,
    )


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure in every format.

    Raises:
        InputError: it cannot be written.
    """
    targets = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        for target in targets:
            figure.savefig(target, dpi=_DPI, metadata=undated.get(target.suffix))
    return targets


def check_lines(count: int) -> None:
    """Refuse more lines than can be told apart.

    Raises:
        InputError: there are more.
    """
    if count > MOST_LINES:
        raise InputError(
            f"{count} different runs: figures tell {MOST_LINES} lines apart; name fewer runs"
        )

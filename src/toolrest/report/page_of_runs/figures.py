"""Runs' curves as PNG, SVG and PDF, as a paper prints them, and a text that says what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.io.files import write_whole, writing
from toolrest.report.page_of_runs.figure_drawing import (
    STYLE,
    Held,
    Panel,
    banded,
    check_lines,
    draw_courses,
    draw_held,
    looks,
    save,
    shown_labels,
)
from toolrest.report.page_of_runs.figure_lines import (
    Course,
    Line,
    collect_whole,
    course,
    lines_of,
    point,
    share_course,
)
from toolrest.report.shading import COLOURS
from toolrest.runs.headline import measure

_TEXT = "figures.txt"
_STEP = "optimiser step"
_PLAIN = {
    "reward": ("series", "reward", "reward"),
    "turns": ("series", "episode/turns", "turns an episode"),
    "errors": ("series", "episode/errors", "errors an episode"),
    "response_length": ("series", "completions/mean_length", "tokens a response"),
    "supervised_loss": ("supervised", "loss", "loss, nats a token"),
    "gradient_norm": ("series", "grad_norm", "gradient norm"),
}
"""By name: where a metric is, its key, the axis' label."""
_BY_REGION = {
    "entropy": ("entropy", "entropy, nats"),
    "weight": ("weight", "mean weight"),
    "signal": ("signal", "share of the gradient signal"),
}
_DECODINGS = (("sampled", "exact_match"), ("greedy", "greedy_exact_match"))


@dataclass(frozen=True)
class _Drawn:
    """A figure that was written."""

    files: list[Path]
    said: str
    """What it shows."""


def write_figures(runs: Sequence[Path], folder: Path) -> list[Path]:
    """Draw every curve that at least one run has, and write beside them what each shows.

    Runs whose recipes differ in the seed alone are one line, their mean, with their range as its
    band.

    Raises:
        InputError: a folder is no run or is named twice, there are more lines than can be told
            apart, or the figures cannot be written.
    """
    import matplotlib

    places = [run.resolve() for run in runs]
    for run, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{run} is named twice; a figure has each run once")
    lines = lines_of([collect_whole(run) for run in runs])
    check_lines(len(lines))
    drawn: list[_Drawn] = []
    with matplotlib.rc_context(STYLE):
        for name, (where, key, label) in _PLAIN.items():
            drawn += _curve(lines, folder / name, label, _metric(where, key))
        drawn += _held(lines, folder / "heldout")
        drawn += _shares(lines, folder / "exact_match")
        for name, (prefix, label) in _BY_REGION.items():
            drawn += _by_region(lines, folder / name, prefix, label)
    if not drawn:
        return []
    text = folder / _TEXT
    with writing(text):
        write_whole(text, _described(lines, drawn))
    return [*(file for each in drawn for file in each.files), text]


def _metric(where: str, key: str) -> Callable[[Line], Course | None]:
    return lambda line: course(line, where, key)


def _curve(
    lines: Sequence[Line], path: Path, label: str, of: Callable[[Line], Course | None]
) -> list[_Drawn]:
    return _panels(lines, path, label, [Panel("", [of(line) for line in lines])])


def _shares(lines: Sequence[Line], path: Path) -> list[_Drawn]:
    """Held-out tasks over training, a panel a decoding."""
    told = f"held-out {_measured(lines)}"
    panels = [
        Panel(title, [share_course(line, key) for line in lines]) for title, key in _DECODINGS
    ]
    known = [each for each in panels if any(found is not None for found in each.courses)]
    if len(known) == 1:
        known, told = [Panel("", known[0].courses)], f"{told}, {known[0].title}"
    return _panels(lines, path, told, known, shares=True)


def _by_region(lines: Sequence[Line], path: Path, prefix: str, label: str) -> list[_Drawn]:
    """Of one line a line a region; of several a panel a region."""
    courses = {
        region: [course(line, "series", f"{prefix}/{region.name.lower()}") for line in lines]
        for region in Region
        if region != Region.OTHER  # a few tokens of broken replies, whose means jump
    }
    known = {
        region: found
        for region, found in courses.items()
        if any(each is not None and each.middle.any() for each in found)
    }
    if len(lines) > 1:
        return _panels(
            lines, path, label, [Panel(r.name.lower(), found) for r, found in known.items()]
        )
    regions = [
        look
        for look, region in zip(
            looks([r.name.lower() for r in Region], [COLOURS[r][0] for r in Region]),
            Region,
            strict=True,
        )
        if region in known
    ]
    panel = Panel("", [found[0] for found in known.values()])
    return _panels(lines, path, label, [panel], regions=regions)


def _panels(
    lines: Sequence[Line],
    path: Path,
    label: str,
    panels: Sequence[Panel],
    *,
    shares: bool = False,
    regions: Any = None,
) -> list[_Drawn]:
    """One figure, if there is anything on it."""
    courses = [each for panel in panels for each in panel.courses if each is not None]
    if not courses:
        return []
    windows = {each.window for each in courses}
    with_bands = any(each.low is not None for each in courses)
    notes = [] if windows == {1} else [f"a point: mean of {_span(windows)}"]
    if with_bands and banded(panels):
        notes.insert(0, _bands(lines, shares=shares))
    note = "; ".join(notes)
    several = {len(line.runs) for line in lines}
    labels = [
        f"{line.label} ({len(line.runs)} {line.unit})" if len(several) > 1 and len(line.runs) > 1
        else line.label
        for line in lines
    ]  # fmt: skip
    figure = draw_courses(
        panels, regions or looks(labels), across=_STEP, up=label, note=note, percent=shares
    )
    said = [label, *notes]
    if with_bands and not banded(panels):
        said.append("no bands, as so many could not be told apart")
    if path.name in _BY_REGION:
        said.append("without tokens in no region")
    return [_Drawn(save(figure, path), "; ".join(said))]


def _span(windows: set[int]) -> str:
    low, high = min(windows), max(windows)
    return f"{high} steps" if low == high else f"{low} to {high} steps"


def _bands(lines: Sequence[Line], *, shares: bool) -> str:
    """What line and band are."""
    sizes = {(len(line.runs), line.unit) for line in lines if len(line.runs) > 1}
    said = []
    if sizes:
        (count, unit) = next(iter(sizes)) if len(sizes) == 1 else (0, "seeds")
        said.append(f"mean and range of {f'{count} ' if count else ''}{unit}")
    if shares and any(len(line.runs) == 1 for line in lines):
        alone = "band" if not sizes else "band of a single run"
        said.append(f"{alone}: Wilson's 95 % interval")
    return "; ".join(said)


def _held(lines: Sequence[Line], path: Path) -> list[_Drawn]:
    """Held-out tasks before and after training, a panel a decoding."""
    told, labels = _measured(lines), shown_labels([line.label for line in lines])
    panels = []
    for title, _ in _DECODINGS:
        rows = [
            Held(label, *(point(line, f"{told}, {title}", when) for when in ("before", "after")))
            for label, line in zip(labels, lines, strict=True)
        ]
        if any(row.before or row.after for row in rows):
            panels.append((title, rows))
    if not panels:
        return []
    note = ["hollow: before training", "filled: after"]
    sizes = {(len(line.runs), line.unit) for line in lines if len(line.runs) > 1}
    if sizes:
        units = " or ".join(sorted({unit for _, unit in sizes}))
        counts = sorted({str(size) for size, _ in sizes}, key=int)
        note.append(f"mean, each and range of {' or '.join(counts)} {units}")
    if any(len(line.runs) == 1 for line in lines):
        note.append("whisker" + (" of a single run" if sizes else "") + ": Wilson's 95 % interval")
    said = "; ".join(note)
    across = f"held-out {told}" + (f", {panels[0][0]}" if len(panels) == 1 else "")
    figure = draw_held(panels if len(panels) > 1 else [("", panels[0][1])], across, said)
    return [_Drawn(save(figure, path), f"{across}; {said}")]


def _measured(lines: Sequence[Line]) -> str:
    return measure(acts=all(run["acts"] for line in lines for run in line.runs))


def _described(lines: Sequence[Line], drawn: Sequence[_Drawn]) -> str:
    """The figures and the lines with their whole names."""
    text = ["Figures", ""]
    text += [f"{each.files[0].stem}: {each.said}" for each in drawn]
    text += ["", "Lines, in the order of the legends", ""]
    for line, shown in zip(lines, shown_labels([line.label for line in lines]), strict=True):
        text.append(f"{' '.join(shown.split())}: {line.label}, {line.runs[0]['scheme']}")
        steps = {run["steps"] for run in line.runs}
        for run in line.runs:
            text.append(f"    {run['name']}, seed {run['seed']}, {run['steps']} steps")
        if len(steps) > 1:
            text.append("    drawn at the steps that all of them have")
    return "\n".join(text) + "\n"

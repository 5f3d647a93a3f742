"""A run's curves as PNG and SVG, in the size of a paper's column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.report.page_of_runs.collect import collect
from toolrest.report.shading import COLOURS
from toolrest.runs.headline import measure

_SIZE = (3.25, 2.2)
"""Inches: the width of one of two columns."""
_DPI = 300
_DASHES = ("-", "--", ":", "-.")
_PLAIN = {
    "reward": ("series", "reward", "reward"),
    "exact_match": ("curve", "exact_match", "held-out {measure}"),
    "turns": ("series", "episode/turns", "turns an episode"),
    "errors": ("series", "episode/errors", "errors an episode"),
    "response_length": ("series", "completions/mean_length", "tokens a response"),
    "supervised_loss": ("supervised", "loss", "loss, nats a token"),
    "gradient_norm": ("series", "grad_norm", "gradient norm"),
}
_BY_REGION = {
    "entropy": ("entropy", "entropy, nats"),
    "weight": ("weight", "mean weight"),
    "signal": ("signal", "share of the gradient signal"),
}
_STYLE: dict[Any, Any] = {
    "font.family": "serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "svg.fonttype": "none",
}


def write_figures(runs: Sequence[Path], folder: Path) -> list[Path]:
    """Draw every curve that at least one run has; runs are told apart by their dashes.

    Raises:
        InputError: a folder is no run, or the figures cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = [collect(run, 0.0) for run in runs]
    made: list[Path] = []
    with matplotlib.rc_context(_STYLE):
        for name, (where, key, label) in _PLAIN.items():
            lines = [(run["name"], run[where].get(key), None) for run in found]
            told = measure(acts=all(run["acts"] for run in found))
            made += _draw(pyplot, folder / name, lines, label.format(measure=told))
        for name, (prefix, label) in _BY_REGION.items():
            lines = [
                (
                    region.name.lower()
                    if len(found) == 1
                    else f"{run['name']} {region.name.lower()}",
                    run["series"].get(f"{prefix}/{region.name.lower()}"),
                    region,
                )
                for run in found
                for region in Region
            ]
            made += _draw(pyplot, folder / name, lines, label, runs=len(found))
    return made


def _draw(
    pyplot: Any,
    path: Path,
    lines: Sequence[tuple[str, Any, Region | None]],
    label: str,
    runs: int = 1,
) -> list[Path]:
    drawn = [line for line in lines if line[1] and any(value is not None for value in line[1][1])]
    if not drawn:
        return []
    figure, axes = pyplot.subplots(figsize=_SIZE, layout="constrained")
    for name, (steps, values), region in drawn:
        number = lines.index((name, [steps, values], region))
        axes.plot(
            steps,
            [float("nan") if value is None else value for value in values],
            label=name,
            linewidth=1,
            color=None if region is None else COLOURS[region][0],
            linestyle=_DASHES[(number // len(Region) if runs > 1 else 0) % len(_DASHES)],
        )
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(label)
    if len(drawn) > 1:
        axes.legend(ncols=3 if len(drawn) > 3 else 1, loc="lower center", bbox_to_anchor=(0.5, 1))
    targets = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target in targets:
            figure.savefig(target, dpi=_DPI)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)
    return targets

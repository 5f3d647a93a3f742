"""Figures of a comparison: the mean over seeds and its 95 % band, a line a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolrest.experiments.results import MethodResult
from toolrest.experiments.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
    *("#000000", "#8C564B", "#7F7F7F", "#17BECF", "#9467BD", "#BCBD22"),
)
_REGIONS = ("format", "name", "parameters", "reasoning", "response")
_SMOOTH = 5
"""Training steps that a point of a noisy training curve is the mean of."""


def draw_figures(
    results: Sequence[MethodResult],
    folder: Path,
    *,
    measured: str = "exact match",
    alike: bool = True,
) -> list[Path]:
    """Write reward, exact match, entropy per region, response length and gradient norm.

    Args:
        measured: what the held-out figure of right answers is called.
        alike: whether all methods are trained by one kind of reward; else those of training, whose
            scales differ, are not drawn beside each other.

    Returns:
        The PNG files; each has an SVG beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = {
        "exact_match": [("held out, sampled", True, "exact_match")],
        "greedy_exact_match": [("held out, greedy", True, "greedy_exact_match")],
        "reward": [
            ("held out, sampled", True, "reward"),
            *([("training rollouts", False, "reward")] if alike else []),
        ],
        "entropy": [(region, False, f"entropy/{region}") for region in _REGIONS],
        "response_length": [("tokens", False, "completions/mean_length")],
        "gradient_norm": [("before clipping", False, "grad_norm")],
    }
    return [
        _draw(name, name.replace("exact_match", measured), panels, results, folder)
        for name, panels in plots.items()
    ]


def _draw(
    name: str,
    label: str,
    panels: Sequence[tuple[str, bool, str]],
    results: Sequence[MethodResult],
    folder: Path,
) -> Path:
    from matplotlib.figure import Figure

    width = 3.3 if len(panels) > 2 else 4.2
    figure = Figure(figsize=(width * len(panels) + 1.6, 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, heldout, metric) in zip(axes, panels, strict=True):
        for index, result in enumerate(results):
            series = result.curves if heldout else result.metrics
            if metric in series:
                _line(axis, *series[metric], result.name, COLOURS[index % len(COLOURS)], heldout)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("optimiser step", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25, linewidth=0.5)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    axes[0].set_ylabel(
        label.replace("_", " ") + (", nats" if name == "entropy" else ""), fontsize=9
    )
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=160)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    return path


def _line(
    axis: Axes, steps: list[float], values: np.ndarray, label: str, colour: str, heldout: bool
) -> None:
    if not heldout:
        steps, values = _smoothed(np.array(steps), values)
    estimates = [mean_interval(column[~np.isnan(column)]) for column in values.T]
    axis.plot(steps, [e.value for e in estimates], label=label, color=colour, linewidth=1.4)
    if len(values) > 1:
        low = [e.value if e.low is None else e.low for e in estimates]
        high = [e.value if e.high is None else e.high for e in estimates]
        axis.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)


def _smoothed(steps: np.ndarray, values: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Means over consecutive training steps, those without a value left out."""
    size = max(1, min(_SMOOTH, len(steps) // 4))
    blocks = [slice(at, at + size) for at in range(0, len(steps), size)]
    centres, means = [], []
    for block in blocks:
        part = values[:, block]
        kept = ~np.isnan(part)
        if kept.any(axis=1).all():
            centres.append(float(steps[block].mean()))
            means.append(np.where(kept, part, 0).sum(1) / kept.sum(1))
    return centres, np.array(means).T if means else np.empty((len(values), 0))

"""What `toolrest gain` prints: a table for each target, the best region weights, the rankings."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolrest.cli.variance_tables import NOT_TOLD

if TYPE_CHECKING:
    from toolrest.experiments.gain_rank import Ranks

_STEPS = {"sgd": "SGD", "adam": "Adam"}


def print_gain(label: str, result: dict[str, Any]) -> None:
    """Print the tables of one policy.

    Args:
        label: of the policy.
        result: what `gain_at` gave.
    """
    from toolrest.io.console import console as plain_console
    from toolrest.io.console import table

    console = plain_console()
    console.width = max(console.width, 200)  # a figure that is cut would be another figure
    console.print(
        f"{label}: {result['trajectories']} responses to {result['prompts']} prompts, "
        f"{result['parameters']} parameters, steps of {result['batch']} prompts, "
        f"{100 * result['progress']:.0f} % of the run",
        style="bold",
    )
    look = {"title_justify": "left", "box": None, "padding": (0, 2, 0, 0)}
    for target, found in result["targets"].items():
        headings = ["method"]
        for step in _STEPS.values():
            headings += [f"gain, {step}", "/ grpo"]
        shown = table(
            [*headings, *result["regions"]],
            left=("method",),
            title=f"\ngain of {target}, whose mean is {found['mean']:.3g}; shares of Adam's gain",
            **look,
        )
        for row in found["methods"]:
            cells = [row["method"]]
            for step in _STEPS:
                cells += [estimate(row[step]["gain"]), _over(row, step)]
            shown.add_row(*cells, *_shares(row["adam"], list(result["regions"])))
        console.print(shown)
        shown = table(
            ["steps", *result["regions"], "gain", "equal weights", "headroom"],
            left=("steps",),
            title=f"\nregion weights of the greatest gain of {target}; gains on the other half",
            **look,
        )
        for step, name in _STEPS.items():
            best = found["best"][step]
            shown.add_row(
                name,
                *(f"{best['weights'][region]:.2f}" for region in result["regions"]),
                estimate(best["gain"]),
                estimate(best["equal"]),
                NOT_TOLD if best["headroom"] is None else estimate(best["headroom"]),
            )
        console.print(shown)


def print_ranks(ranks: "Sequence[Ranks]") -> None:
    """Print how far the rankings agree with training's."""
    from dataclasses import asdict

    from toolrest.io.console import console as plain_console

    console = plain_console()
    for each in ranks:
        console.print_line(
            f"rank correlation of {each.target}, {_STEPS[each.step]}, over {len(each.methods)} "
            f"methods and {each.seeds} seeds: {estimate(asdict(each.correlation))}"
        )


def _over(row: dict[str, Any], step: str) -> str:
    if row["method"] == "grpo":
        return "1"
    over = row[step]["over_grpo"]
    return NOT_TOLD if over is None else estimate(over)


def _shares(found: dict[str, Any], regions: list[str]) -> list[str]:
    """Each region's share of a gain that is told from 0."""
    whole = found["gain"]["value"]
    if not found["told_from_0"]:
        return ["-"] * len(regions)
    return [f"{found['regions'][region]['value'] / whole:.2f}" for region in regions]


def estimate(found: dict[str, Any]) -> str:
    """A value with its interval, as `1.24 (0.9 to 1.6)`."""
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or not math.isfinite(value):
        return "-"
    if low is None or high is None:
        return f"{value:.3g}"
    return f"{value:.3g} ({low:.3g} to {high:.3g})"

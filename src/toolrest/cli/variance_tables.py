"""What `toolrest variance` prints: a table for each question."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

NOT_TOLD = "not told from 0"
"""In the place of a quotient whose denominator may be 0: such a quotient has no error."""


def print_variance(label: str, result: dict[str, Any]) -> None:
    """Print all tables of one measurement.

    Args:
        label: of the policy that was measured.
    """
    from toolrest.io.console import console as plain_console

    console = plain_console()
    console.width = max(console.width, 100)  # a figure that is cut would be another figure
    regions, rows = result["regions"], result["weightings"]
    names = [row["region"] for row in regions]
    every = sum(row["tokens"] for row in regions)

    def by_region(title: str, columns: dict[str, str]) -> None:
        lines = [
            (row["region"], str(row["tokens"]), *(_number(row[key]) for key in columns))
            for row in regions
        ]
        means = [sum(row[key] * row["tokens"] for row in regions) / every for key in columns]
        total = ("all", str(every), *map(_number, means))
        console.print(_table(title, ("region", "tokens", *columns.values()), [*lines, total]))

    def by_scheme(title: str, columns: dict[str, Callable[[dict[str, Any]], str]]) -> None:
        lines = [(row["scheme"], *(show(row) for show in columns.values())) for row in rows]
        console.print(_table(title, ("scheme", *columns), lines))

    console.print(f"{label}: {result['trajectories']} trajectories", style="bold")
    by_region(
        "uncertainty of a token",
        {
            **{"entropy": "H, nats", "bound": "1-exp(-H)"},
            **{"collision": "1-sum p^2", "sampled": "||e_a - p||^2"},
        },
    )
    by_region(
        "squared norm of a token's score",
        {
            "last_layer_expected": "last layer",
            "last_layer": "sampled",
            "last_layer_sum": "sums",
            "single_tokens": "all parameters",
            "parameters": "sums",
        },
    )
    lines = [
        (
            name,
            *(
                _number(w) if (w := found["weights"].get(region)) is not None else ""
                for region in names
            ),
            *(_number(found[key]) for key in ("off_by", "variance", "variance_with_advantages")),
        )
        for name, found in result["agreement"].items()
    ]
    title = "weights of least variance by each second moment"
    console.print(_table(title, ("by", *names, "off by", "variance", "with A"), lines))
    by_scheme(
        "variance of one trajectory's gradient",
        {
            "tr Cov": lambda row: _number(row["trace"], row["trace_error"]),
            "/ uniform": lambda row: _number(row["relative_trace"], row["relative_trace_error"]),
            "/ bound (1)": lambda row: _number(row["over_bound"], row["over_bound_error"]),
            "/ (2)": lambda row: _number(_over(row["trace"], row["bound_greatest"])),
            "/ (3)": lambda row: _number(_over(row["trace"], row["bound_regions"])),
        },
    )
    by_scheme(
        "signal: ||E g||^2 / tr Cov",
        {
            "signal": lambda row: _number(row["ratio"], row["ratio_error"]),
            "/ uniform": lambda row: _over_uniform(row, rows[0], result["prompts"]),
            "cosine": lambda row: _number(row["cosine"]),
        },
    )
    for title, values in (
        ("mean weight", lambda row: row["weights"]),
        ("tr Cov by region", lambda row: {**row["region_trace"], "between": _between(row)}),
    ):
        columns = values(rows[0])
        by_scheme(title, {r: lambda row, r=r, get=values: _number(get(row)[r]) for r in columns})


def _between(row: dict[str, Any]) -> float:
    """What the covariance of different regions adds."""
    return row["trace"] - sum(row["region_trace"].values())


def _over_uniform(row: dict[str, Any], uniform: dict[str, Any], prompts: int) -> str:
    """A scheme's signal over that of equal weights, where that one is told from 0."""
    if row is uniform or _differs(uniform["signal"], uniform["signal_error"], prompts):
        return _number(row["relative_ratio"], row["relative_ratio_error"])
    return NOT_TOLD


def _differs(value: float, error: float, groups: int) -> bool:
    """Whether 95 % of t about a jackknife's estimate from groups leave out 0."""
    from scipy.stats import t

    return bool(groups > 2 and abs(value) > t.ppf(0.975, groups - 1) * error)


def _over(value: float, bound: float) -> float:
    return value / bound if bound > 0 else float("nan")


def _number(value: float | None, error: float | None = None) -> str:
    """Three digits; with an error, as many as the error allows."""
    if value is None or not math.isfinite(value):
        return "-"
    if error is None or not 0 < error < math.inf:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _table(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(title=f"\n{title}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="right" if column else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table

"""Writes what a grid of runs shows: stability.json, stability.md and the figure."""

from __future__ import annotations

from collections.abc import Sequence

from toolrest.experiments.grid import Grid
from toolrest.experiments.plan import CompareFolder, Plan
from toolrest.experiments.stability.figure import draw_frontier
from toolrest.experiments.stability.results import Standing, load_standings, to_json
from toolrest.experiments.stability.tables import markdown
from toolrest.io.files import write_json, write_whole


def write_stability(
    folder: CompareFolder, plan: Plan, grid: Grid, differing: Sequence[str] = ()
) -> list[Standing]:
    """Write the files from the finished runs, which may be fewer than the plan's.

    Args:
        differing: what the runs differ in besides methods, rates and seeds; see `sameness`.

    Returns:
        The table's rows.

    Raises:
        InputError: no run is finished, or one cannot be read.
    """
    standings = load_standings(folder, plan, grid)
    found = to_json(standings, plan, grid) | {"differing": list(differing)}
    write_json(folder.path / "stability.json", found)
    write_whole(folder.path / "stability.md", markdown(standings, plan, grid, differing))
    draw_frontier(standings, grid, folder.path / "figures")
    return standings

"""Writes the results of a comparison: compare.json, compare.md and figures."""

from __future__ import annotations

from collections.abc import Sequence

from toolrest.experiments.figures import draw_figures
from toolrest.experiments.methods import apply_method
from toolrest.experiments.plan import CompareFolder, Plan
from toolrest.experiments.results import Row, compare_methods, load_results, to_json
from toolrest.experiments.tables import markdown
from toolrest.io.files import write_json, write_whole
from toolrest.runs.headline import measure


def write_report(folder: CompareFolder, plan: Plan, differing: Sequence[str] = ()) -> Sequence[Row]:
    """Write the files from the finished cells, which may be fewer than the plan's.

    Args:
        differing: what the runs differ in besides methods and seeds; see `sameness`.

    Returns:
        The table's rows.

    Raises:
        InputError: no run of the baseline is finished.
    """
    results = load_results(folder, plan)
    rows = compare_methods(results, plan.baseline)
    write_json(
        folder.path / "compare.json", to_json(results, rows, plan) | {"differing": list(differing)}
    )
    write_whole(folder.path / "compare.md", markdown(rows, plan, differing))
    acts = {apply_method(plan.recipe, method).acts for method in plan.methods}
    measured = measure(acts=plan.recipe.environment.source is not None)
    draw_figures(results, folder.path / "figures", measured=measured, alike=len(acts) == 1)
    return rows

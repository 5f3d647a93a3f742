"""What `toolrest compare --stability` prints of its runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolrest.experiments.grid import Grid
    from toolrest.experiments.plan import CompareFolder, Plan


def write(folder: "CompareFolder", plan: "Plan", grid: "Grid") -> None:
    """Write table and figure of what is finished, and show the table's first figures.

    Raises:
        InputError: no run is finished, or one cannot be read.
    """
    from toolrest.experiments.sameness import differing
    from toolrest.experiments.stability.report import write_stability
    from toolrest.experiments.stability.tables import columns, row
    from toolrest.io.console import console, table

    also = differing(folder, plan)
    standings = write_stability(folder, plan, grid, also)
    view, headings = console(), columns(grid)
    rates = len(grid.rates)
    shown = (0, *range(2, 2 + rates), 2 + rates, 4 + rates)
    short = [headings[index].removeprefix("collapsed at ") for index in shown]
    title = f"runs that collapsed by learning rate; differences to {plan.baseline}"
    summary = table(short, left=short[:1], title=title, title_justify="left")
    for standing in standings:
        cells = row(standing, grid)
        summary.add_row(*(cells[index] for index in shown))
    view.print(summary)
    for line in also:
        view.print_line(f"the runs also differ: {line}")
    view.print_line(f"table    {folder.path / 'stability.md'}")
    view.print_line(f"figure   {folder.path / 'figures' / 'frontier.png'}")
    view.print_line(f"figures of every run  {folder.path / 'stability.json'}")

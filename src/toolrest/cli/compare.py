"""`toolrest compare`: methods times seeds from one recipe, and what the figures say."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.recipes import ARGUMENTS, split_arguments

if TYPE_CHECKING:
    from toolrest.recipe import Recipe
    from toolrest.study.cells import Cells
    from toolrest.study.plan import CompareFolder, Plan


def compare(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Presets (see --list), or NAME:KEY=VALUE+KEY=VALUE; commas between.",
            metavar="NAMES",
        ),
    ] = "grpo,rest",
    seeds: Annotated[str, typer.Option(help="How many, or which: 0,1,5.", metavar="SEEDS")] = "3",
    baseline: Annotated[
        str | None, typer.Option(help="The method to compare with; the folder's, or the first one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The comparison's folder.")] = Path("comparison"),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; as many as processors if none.")
    ] = None,
    list_presets: Annotated[bool, typer.Option("--list", help="List the presets; do nothing.")] = (
        False
    ),
    report: Annotated[
        bool, typer.Option("--report", help="Only write tables and figures of what is finished.")
    ] = False,
) -> None:
    """Compare training methods on one recipe. Started again, it goes on where it was."""
    if list_presets:
        _list_presets()
        return
    with one_line_errors():
        from toolrest.recipe import load_recipe
        from toolrest.study.cells import Cells, only_one
        from toolrest.study.methods import read_methods
        from toolrest.study.plan import CompareFolder, keep_plan, load_plan, make_plan

        folder = CompareFolder(out)
        if report:
            _write(folder, load_plan(folder))
            return
        recipe = load_recipe(*split_arguments(arguments or []))
        if recipe.evaluation.samples == 0:
            from toolrest.errors import InputError

            raise InputError("evaluation.samples=0: a comparison needs held-out samples; use 256")
        chosen = read_methods(methods)
        before = load_plan(folder) if folder.plan.is_file() else None
        if before is not None:
            baseline = baseline or before.baseline
            given = {method.name for method in chosen}
            chosen += [method for method in before.methods if method.name not in given]
        cores = os.cpu_count() or 1
        at_once = jobs or cores
        plan = make_plan(
            _sized(recipe, before.recipe if before is not None else None),
            chosen,
            _seeds(seeds),
            baseline or chosen[0].name,
            max(1, cores // at_once),
        )
        with only_one(folder):
            cells = Cells(folder, keep_plan(folder, plan))
            _run(cells, at_once)
            seeds_done = [s for s in cells.plan.seeds if cells.done((cells.plan.baseline, s))]
            if seeds_done or not cells.failed:
                _write(folder, cells.plan)
    if cells.failed:
        for cell, line in cells.failed.items():
            log = folder.log(*cell)
            where = f" ({log})" if log.is_file() else ""
            typer.echo(f"toolrest: {cell[0]} with seed {cell[1]} failed: {line}{where}", err=True)
        typer.echo("the same command tries the failed runs again", err=True)
        raise typer.Exit(1)


def _sized(recipe: "Recipe", before: "Recipe | None") -> "Recipe":
    """The recipe with what it does not say worked out once, for all methods and seeds: as the
    comparison began, else for its policy, this machine and its data.
    """
    from toolrest.estimate.settings import KEYS
    from toolrest.policy import load_tokenizer
    from toolrest.recipe import changed, says, value_of
    from toolrest.rollout.fitting import fit_recipe
    from toolrest.rollout.sizing import is_sized, size_recipe

    if not is_sized(recipe):
        return recipe
    if before is not None:
        known = {key: value_of(before, key) for key in KEYS if not says(recipe, key)}
        return changed(recipe, known)
    tokenizer = load_tokenizer(recipe)
    fitted, _ = fit_recipe(recipe, tokenizer)
    _, settings = size_recipe(fitted, tokenizer)
    for each in settings:
        typer.echo(str(each))
    return changed(recipe, {each.key: each.value for each in settings})


def _seeds(written: str) -> tuple[int, ...]:
    from toolrest.study.plan import read_seeds

    return read_seeds(written)


def _run(cells: "Cells", jobs: int) -> None:
    from toolrest.watch.compare import CompareView

    try:
        with CompareView(cells) as view:
            cells.run(jobs, view.tick)
            view.tick()
    except KeyboardInterrupt:
        typer.echo("stopped; what is done is kept. The same command goes on", err=True)
        raise typer.Exit(130) from None


def _write(folder: "CompareFolder", plan: "Plan") -> None:
    from rich.console import Console
    from rich.table import Table

    from toolrest.study.report import write_report
    from toolrest.study.tables import COLUMNS, cells

    rows = write_report(folder, plan)
    console = Console(highlight=False)
    shown = (0, 1, 2, 5, 6, 10)
    table = Table(title=f"against {plan.baseline}", title_justify="left")
    for index in shown:
        table.add_column(COLUMNS[index], justify="left" if index == 0 else "right")
    for row in rows:
        found = cells(row)
        table.add_row(*(found[index] for index in shown))
    console.print(table)
    console.print(f"table    {folder.path / 'compare.md'}", soft_wrap=True)
    console.print(f"figures  {folder.path / 'figures'}", soft_wrap=True)
    console.print(f"figures of every run  {folder.path / 'compare.json'}", soft_wrap=True)


def _list_presets() -> None:
    from rich.console import Console
    from rich.table import Table

    from toolrest.study.methods import PRESETS

    table = Table("name", "what", "overrides")
    for preset in PRESETS.values():
        table.add_row(preset.name, preset.about, " ".join(preset.overrides))
    Console(highlight=False).print(table)

"""`toolrest compare`: methods times seeds from one recipe, and what the figures say."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.recipes import ARGUMENTS, split_arguments
from toolrest.io.terminal import say, say_lost

if TYPE_CHECKING:
    from toolrest.experiments.cells import Cells
    from toolrest.experiments.plan import CompareFolder, Plan
    from toolrest.recipe import Recipe


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
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Train each method with several learning rates; runs that collapse end.",
        ),
    ] = False,
    rates: Annotated[
        str | None,
        typer.Option(
            help="With --stability: 1e-4,2e-4; if none 1/2, 1, 2, 4, 8 times the recipe's.",
            metavar="RATES",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Only write tables and figures of what is finished.")
    ] = False,
) -> None:
    """Compare training methods on one recipe. Started again, it goes on where it was."""
    if list_presets:
        _list_presets()
        return
    with one_line_errors():
        from toolrest.errors import InputError
        from toolrest.experiments.ahead import say_ahead
        from toolrest.experiments.cells import Cells, only_one
        from toolrest.experiments.grid import make_grid, read_rates
        from toolrest.experiments.methods import read_methods
        from toolrest.experiments.plan import (
            CompareFolder,
            check_kept_methods,
            check_kind,
            keep_plan,
            load_plan,
            make_plan,
            make_stability_plan,
            plan_taught_rows,
            read_seeds,
            with_baseline,
        )
        from toolrest.experiments.sameness import check_unchanged
        from toolrest.recipe import load_recipe

        folder = CompareFolder(out)
        if report:
            _write(folder, with_baseline(load_plan(folder), baseline))
            return
        if rates is not None and not stability:
            raise InputError(f"--rates {rates} is for --stability; add it, or leave --rates out")
        recipe = load_recipe(*split_arguments(arguments or []))
        if recipe.evaluation.samples == 0:
            raise InputError("evaluation.samples=0: a comparison needs held-out samples; use 256")
        from toolrest.doctor.preflight import Place, preflight

        new = not folder.plan.is_file()
        chosen = read_methods(methods)
        tried = read_rates(rates, recipe.optimizer.learning_rate) if stability else (None,)
        runs = len(chosen) * len(read_seeds(seeds)) * len(tried) if new else 0
        preflight(recipe, place=Place(folder.path, "use another --out", runs=runs))
        before = None if new else load_plan(folder)
        if before is not None:
            check_kind(folder, before, stability=stability)
            baseline = baseline or before.baseline
            given = {method.name for method in chosen}
            there = before.methods if before.grid is None else before.grid.methods
            kept = [method for method in there if method.name not in given]
            check_kept_methods(recipe, kept, folder)
            chosen += kept
        cores = os.cpu_count() or 1
        at_once = jobs or cores
        sized = _sized(recipe, before.recipe if before is not None else None)
        shared = (read_seeds(seeds), baseline or chosen[0].name, _threads(cores, at_once))
        if stability:
            kept_rates = before.grid.rates if before is not None and before.grid is not None else ()
            if rates is not None or not kept_rates:
                kept_rates = read_rates(rates, sized.optimizer.learning_rate)
            plan = make_stability_plan(sized, make_grid(chosen, kept_rates), *shared)
        else:
            plan = make_plan(sized, chosen, *shared)
        if (taught := plan_taught_rows(plan)) is not None:
            say(taught, err=True)
        with only_one(folder):
            plan = keep_plan(folder, plan)
            check_unchanged(folder, plan)
            cells = Cells(folder, plan)
            if stability:
                say_ahead(folder, plan, at_once, say)
            _run(cells, at_once)
            _finish(cells)
            if _is_told(cells) or not cells.failed:
                _write(folder, cells.plan)
        say_lost(f"what is done is in {folder.path}")
    if cells.failed:
        for cell, line in cells.failed.items():
            log = folder.log(*cell)
            where = f" ({log})" if log.is_file() else ""
            say(f"toolrest: {cell[0]} with seed {cell[1]} failed: {line}{where}", err=True)
        say("the same command tries the failed runs again", err=True)
        raise typer.Exit(1)


def _threads(cores: int, at_once: int) -> int:
    """Of each run: what OMP_NUM_THREADS says, else its share of the processors."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else max(1, cores // at_once)


def _sized(recipe: "Recipe", before: "Recipe | None") -> "Recipe":
    """The recipe with what it does not say worked out once, for all methods and seeds: as the
    comparison began, else for its policy, this machine and its data.
    """
    from toolrest.estimate.epochs import refuse_epochs
    from toolrest.estimate.settings import KEYS
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.sizing import is_sized, size_recipe
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.recipe import changed, says, value_of

    refuse_epochs(recipe, "a comparison, whose methods have as many steps,")
    if not is_sized(recipe):
        return recipe
    if before is not None:
        known = {key: value_of(before, key) for key in KEYS if not says(recipe, key)}
        return changed(recipe, known)
    tokenizer = load_tokenizer(recipe)
    fitted, _ = fit_recipe(recipe, tokenizer)
    _, settings = size_recipe(fitted, tokenizer)
    for each in settings:
        say(str(each))
    return changed(recipe, {each.key: each.value for each in settings})


def _run(cells: "Cells", jobs: int) -> None:
    from toolrest.report.compare import CompareView

    try:
        with CompareView(cells) as view:
            cells.run(jobs, view.tick)
            view.tick()
    except KeyboardInterrupt:
        say("stopped; what is done is kept. The same command goes on", err=True)
        raise typer.Exit(130) from None


def _finish(cells: "Cells") -> None:
    """What a kill has kept from runs that were done but for their pages."""
    from toolrest.cli.summary import write_page

    for cell in cells.plan.cells():
        run = cells.folder.run(*cell)
        if cells.done(cell):
            run.drop_parts()
            if not (run.path / "report.html").is_file():
                write_page(run)


def _is_told(cells: "Cells") -> bool:
    """Whether what is finished makes a table."""
    plan = cells.plan
    if plan.grid is not None:
        return any(map(cells.done, plan.cells()))
    return any(cells.done((plan.baseline, seed)) for seed in plan.seeds)


def _write(folder: "CompareFolder", plan: "Plan") -> None:
    if plan.grid is not None:
        from toolrest.cli.compare_rates import write

        write(folder, plan, plan.grid)
        return
    from toolrest.experiments.report import write_report
    from toolrest.experiments.sameness import differing
    from toolrest.experiments.tables import cells, columns
    from toolrest.io.console import console, table

    also = differing(folder, plan)
    rows = write_report(folder, plan, also)
    view = console()
    shown, headings = (0, 1, 2, 5, 6, 10), columns(plan)
    chosen = [headings[index] for index in shown]
    title = f"against {plan.baseline}"
    summary = table(chosen, left=headings[:1], title=title, title_justify="left")
    for row in rows:
        found = cells(row)
        summary.add_row(*(found[index] for index in shown))
    view.print(summary)
    for line in also:
        view.print_line(f"the runs also differ: {line}")
    view.print_line(f"table    {folder.path / 'compare.md'}")
    view.print_line(f"figures  {folder.path / 'figures'}")
    view.print_line(f"figures of every run  {folder.path / 'compare.json'}")


def _list_presets() -> None:
    from rich.table import Table

    from toolrest.experiments.methods import PRESETS
    from toolrest.io.console import console

    table = Table("name", "what", "overrides")
    for preset in PRESETS.values():
        table.add_row(preset.name, preset.about, " ".join(preset.overrides))
    console().print(table)

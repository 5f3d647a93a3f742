"""`toolrest train`: the job of a recipe, from evaluation to evaluation."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.plan import default_name, print_plan
from toolrest.cli.recipes import ARGUMENTS, split_arguments
from toolrest.cli.stopping import AS_IT_WAS, NOTHING, told_when_stopped, what_is_kept
from toolrest.cli.work import train_in_this_process
from toolrest.errors import InputError
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.engines.common.ranks import Ranks
    from toolrest.recipe import Recipe
    from toolrest.runs.extension import Extension
    from toolrest.runs.folder import RunFolder


def train(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with a stopped run: its folder, or 'auto' for the newest."),
    ] = None,
    accept_changed_data: Annotated[
        bool,
        typer.Option(
            "--accept-changed-data",
            help="With --resume: go on although data, policy or reward function are not what the "
            "run began with. The run keeps that.",
        ),
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="trl or verl; the same as engine.name=...")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the resolved recipe and the plan, or verl's command; do nothing.",
        ),
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run code that comes with the policy; with --resume, all code that the run's "
            "recipe names.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Train a policy. Without a recipe: the embedded world and policy, ResT."""
    told = AS_IT_WAS if resume is not None else NOTHING
    with one_line_errors(), told_when_stopped(lambda: told):
        path, overrides = split_arguments(arguments or [])
        if engine is not None:
            overrides.append(f"engine.name={engine}")
        if resume is not None:
            if path is not None:
                raise InputError("--resume goes on with the run's own recipe; give no other")
            _resume(
                resume,
                overrides,
                dry_run,
                quiet,
                trusted=trust_remote_code,
                accept=accept_changed_data,
            )
            return
        if accept_changed_data:
            raise InputError("--accept-changed-data goes with --resume")
        if trust_remote_code:
            overrides.append("trust_remote_code=true")
        from toolrest.recipe import load_recipe

        recipe = load_recipe(path, overrides)
        if dry_run:
            print_plan(recipe, path)
            return
        from toolrest.doctor.preflight import preflight

        preflight(recipe, name=recipe.name)
        from toolrest.engines.common.ranks import join_ranks
        from toolrest.runs.claims import new_run
        from toolrest.runs.folder import RunFolder

        ranks = join_ranks()
        with ExitStack() as held:
            claim = new_run(recipe.name, default_name(recipe, path))
            run = RunFolder(ranks.first(lambda: held.enter_context(claim).path))
            with told_when_stopped(lambda: what_is_kept(run, recipe)):
                _run(recipe, run, ranks, resume=False, quiet=quiet)


def _resume(
    resume: str, overrides: list[str], dry_run: bool, quiet: bool, *, trusted: bool, accept: bool
) -> None:
    from toolrest.doctor.preflight import Place, preflight
    from toolrest.engines.common.ranks import join_ranks
    from toolrest.io.files import write_whole
    from toolrest.recipe import (
        check_resumable,
        check_trusted,
        dump_recipe,
        extends,
        load_recipe,
        load_run_recipe,
    )
    from toolrest.runs.claims import find_run, resumed_run
    from toolrest.runs.extension import finish_extension
    from toolrest.runs.folder import RunFolder

    check_resumable(overrides)
    longer = extends(overrides)
    if dry_run:
        found = find_run(resume, extended=longer)
        recipe = load_run_recipe(found.recipe, overrides, trusted=trusted)
        extension = _planned(found, recipe, accept) if longer else None
        print_plan(recipe, run=found)
        if extension is not None:
            say(f"# {extension}")
        return
    ranks = join_ranks()
    with ExitStack() as held:
        going_on = resumed_run(resume, extended=longer)
        run = RunFolder(ranks.first(lambda: held.enter_context(going_on).path))
        recipe = load_recipe(run.recipe, overrides)
        if not trusted:
            check_trusted(recipe, run.recipe)
        preflight(recipe, place=Place(run.path, run=run))
        ranks.first(lambda: finish_extension(run, load_recipe(run.recipe, [])))
        if longer:
            ranks.first(lambda: _extend(run, recipe, overrides, accept))
        elif overrides:
            written = dump_recipe(recipe, _reasons_left(run, overrides), said=True)
            ranks.first(lambda: write_whole(run.recipe, written))
        with told_when_stopped(lambda: what_is_kept(run, recipe)):
            _run(recipe, run, ranks, resume=True, quiet=quiet, accept=accept)


def _planned(run: "RunFolder", recipe: "Recipe", accept: bool) -> "Extension | None":
    """What it would be for a run to go on to more steps; None: it is one that goes on to them."""
    from toolrest.recipe import load_recipe
    from toolrest.runs.extension import plan_extension
    from toolrest.training import steps_done

    before = load_recipe(run.recipe, [])
    planned = plan_extension(run, before, recipe, steps_done(recipe, run), accept=accept)
    return None if planned.before == planned.after else planned


def _extend(run: "RunFolder", recipe: "Recipe", overrides: list[str], accept: bool) -> None:
    """Make a run one that goes on to more steps, its recipe included, and say what that means."""
    from toolrest.io.files import write_whole
    from toolrest.recipe import dump_recipe, extends, load_recipe
    from toolrest.runs.extension import extend_run, forget_end

    extension = _planned(run, recipe, accept)
    others = [written for written in overrides if not extends([written])]
    reasons = _reasons_left(run, others)
    before = load_recipe(run.recipe, [])
    if extension is None:
        forget_end(run, before.max_steps)
        write_whole(run.recipe, dump_recipe(recipe, reasons, said=True))
        return
    written = dump_recipe(recipe, reasons | {"max_steps": extension.reason}, said=True)
    extend_run(run, before, recipe, extension, written)
    say(str(extension))


def _reasons_left(run: "RunFolder", overrides: list[str]) -> dict[str, str]:
    """Where the values of a run's recipe come from, but for those that are said now."""
    from toolrest.io.files import read_text
    from toolrest.recipe import read_reasons

    known = read_reasons(read_text(run.recipe))
    said = {written.partition("=")[0] for written in overrides}
    return {key: why for key, why in known.items() if key not in said}


def _run(
    recipe: "Recipe",
    run: "RunFolder",
    ranks: "Ranks",
    *,
    resume: bool,
    quiet: bool,
    accept: bool = False,
) -> None:
    """Do the job of a recipe here, or in the processes that it asks for: several, or one in which
    accelerate shards or offloads the policy.
    """
    from toolrest.engines.common.ranks import is_launched

    engine = recipe.engine
    here = engine.processes == 1 and engine.sharding == "ddp"
    if engine.name == "verl" or is_launched() or here:
        train_in_this_process(recipe, run, ranks, resume=resume, quiet=quiet, accept=accept)
        ranks.leave()
        return
    from toolrest.engines.trl.processes import run_processes
    from toolrest.recipe import dump_recipe
    from toolrest.runs.environment import begin_run

    begin_run(run, dump_recipe(recipe, said=True), recipe.seed)
    code = run_processes(engine, run, quiet=quiet, accept=accept)
    if code:
        raise typer.Exit(code)

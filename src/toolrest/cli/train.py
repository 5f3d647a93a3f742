"""`toolrest train`: the job of a recipe, from evaluation to evaluation."""

import errno
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.recipes import ARGUMENTS, split_arguments
from toolrest.errors import InputError

if TYPE_CHECKING:
    from toolrest.ranks import Ranks
    from toolrest.recipe import Recipe
    from toolrest.runs import RunFolder

_DISK_FULL = 1 << 20
"""With fewer bytes free a failed write is put down to the disk."""


def train(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with a stopped run: its folder, or 'auto' for the newest."),
    ] = None,
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
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Train a policy. Without a recipe: the embedded world and policy, ResT."""
    with one_line_errors():
        path, overrides = split_arguments(arguments or [])
        if engine is not None:
            overrides.append(f"engine.name={engine}")
        if resume is not None:
            if path is not None:
                raise InputError("--resume goes on with the run's own recipe; give no other")
            _resume(resume, overrides, dry_run, quiet)
            return
        from toolrest.recipe import load_recipe

        recipe = load_recipe(path, overrides)
        if dry_run:
            _print_plan(recipe)
            return
        from toolrest.claims import new_run
        from toolrest.ranks import join_ranks
        from toolrest.runs import RunFolder

        ranks = join_ranks()
        with ExitStack() as held:
            claim = new_run(recipe.name, _default_name(recipe))
            run = RunFolder(ranks.first(lambda: held.enter_context(claim).path))
            _run(recipe, run, ranks, resume=False, quiet=quiet)


def _default_name(recipe: "Recipe") -> str:
    from toolrest.naming import file_name

    policy = Path(recipe.policy).name or "policy"
    scheme = recipe.weighting.scheme.replace("*", "-") if recipe.method == "rl" else recipe.method
    return f"{file_name(f'{scheme}-{policy}')}-seed{recipe.seed}"


def _resume(resume: str, overrides: list[str], dry_run: bool, quiet: bool) -> None:
    from toolrest.claims import find_run, resumed_run
    from toolrest.files import write_whole
    from toolrest.ranks import join_ranks
    from toolrest.recipe import check_resumable, dump_recipe, load_recipe
    from toolrest.runs import RunFolder

    check_resumable(overrides)
    if dry_run:
        _print_plan(load_recipe(find_run(resume).recipe, overrides))
        return
    ranks = join_ranks()
    with ExitStack() as held:
        run = RunFolder(ranks.first(lambda: held.enter_context(resumed_run(resume)).path))
        recipe = load_recipe(run.recipe, overrides)
        if overrides:
            reasons = _reasons_left(run, overrides)
            written = dump_recipe(recipe, reasons, said=True)
            ranks.first(lambda: write_whole(run.recipe, written))
        _run(recipe, run, ranks, resume=True, quiet=quiet)


def _reasons_left(run: "RunFolder", overrides: list[str]) -> dict[str, str]:
    """Where the values of a run's recipe come from, but for those that are said now."""
    from toolrest.recipe import read_reasons

    known = read_reasons(run.recipe.read_text(encoding="utf-8"))
    said = {written.partition("=")[0] for written in overrides}
    return {key: why for key, why in known.items() if key not in said}


def _run(recipe: "Recipe", run: "RunFolder", ranks: "Ranks", *, resume: bool, quiet: bool) -> None:
    """Do the job of a recipe here, or in the processes that it asks for."""
    engine = recipe.engine
    if engine.name == "verl":
        train_in_this_process(recipe, run, ranks, resume=resume, quiet=quiet)
        return
    if ranks.count not in (1, engine.processes * engine.nodes):
        raise InputError(
            f"engine.processes={engine.processes}, engine.nodes={engine.nodes}, but the launcher "
            f"has started {ranks.count} processes; say the same to both"
        )
    if engine.nodes > ranks.count:
        raise InputError(
            f"engine.nodes={engine.nodes}: TRL's processes have to be started on every machine "
            "(docs/scaling.md shows how); or use engine=verl"
        )
    if ranks.count > 1 or engine.processes == 1:
        train_in_this_process(recipe, run, ranks, resume=resume, quiet=quiet)
        return
    from toolrest.engines.processes import run_processes
    from toolrest.recipe import dump_recipe
    from toolrest.runs import begin_run

    begin_run(run, dump_recipe(recipe, said=True), recipe.seed)
    code = run_processes(engine, run, quiet=quiet)
    if code:
        raise typer.Exit(code)


def train_in_this_process(
    recipe: "Recipe", run: "RunFolder", ranks: "Ranks", *, resume: bool, quiet: bool
) -> None:
    """Do the job of a recipe, shown and reported by process 0, in a folder that is held.

    Raises:
        InputError: something given cannot be used.
    """
    summary = _trained(recipe, run, ranks, resume=resume, quiet=quiet)
    if ranks.main:
        page = _report(run)
        _print_summary(summary, run)
        if page is not None:
            typer.echo(f"report       {page}")


def _trained(
    recipe: "Recipe", run: "RunFolder", ranks: "Ranks", *, resume: bool, quiet: bool
) -> dict[str, Any]:
    """What summary.json holds, at the end of training."""
    from safetensors import SafetensorError

    from toolrest.guards import NonFiniteError
    from toolrest.rewards.guarded import RewardError
    from toolrest.training import Interrupted, run_training
    from toolrest.verl_training import run_verl_training
    from toolrest.watch.live import LiveView

    calm_libraries()
    with LiveView(quiet=quiet or not ranks.main, rollouts=run.rollouts) as view:
        try:
            if recipe.engine.name == "verl":
                return run_verl_training(recipe, run, view, resume=resume)
            return run_training(recipe, run, view, resume=resume, ranks=ranks)
        except (KeyboardInterrupt, Interrupted):
            view.close()
            if ranks.main:
                typer.echo(f"stopped; what is done is kept. Go on with: {_again(run)}", err=True)
            raise typer.Exit(130) from None
        except NonFiniteError as error:
            view.close()
            raise InputError(
                f"{error}; {run.incidents} has what led to it. Go on from the last checkpoint "
                f"with: {_again(run)} (guards.non_finite=skip leaves such steps out)"
            ) from error
        except RewardError as error:
            view.close()
            raise InputError(
                f"{error}; mend it, then go on with: {_again(run)} (guards.reward_error=skip goes "
                "on without it)"
            ) from error
        except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
            reason = _out_of_memory(error, recipe) or _cannot_write(error, run)
            if reason is None:
                raise
            view.close()
            raise InputError(f"{reason}, then go on with: {_again(run)}") from error


def _again(run: "RunFolder") -> str:
    """What goes on with a run; a new one in which nothing was done leaves nothing to resume."""
    return f"toolrest train --resume {run.path}" if run.is_used() else "the same command"


def _report(run: "RunFolder") -> Path | None:
    """The run's page; a run is no worse for one that cannot be written."""
    from toolrest.watch.report.write import write_report

    page = run.path / "report.html"
    try:
        write_report([run.path], page)
    except InputError as error:
        typer.echo(f"toolrest: {error}", err=True)
        return None
    return page


def calm_libraries() -> None:
    """Leave the terminal to the view: no bars and no notices of deprecation from libraries."""
    import warnings

    from datasets.utils.logging import disable_progress_bar
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="You are using 'rollout_func'")


def _out_of_memory(error: Exception, recipe: "Recipe") -> str | None:
    """That memory ran out, with what takes less; None where that is not the error."""
    import torch

    said = ("can't allocate memory", "out of memory")
    kinds = (torch.OutOfMemoryError, MemoryError)
    if not isinstance(error, kinds) and not any(text in str(error) for text in said):
        return None
    reason = (str(error).strip() or "MemoryError").splitlines()[0]
    return (
        f"out of memory ({reason}); lower optimizer.micro_batch "
        f"(now {recipe.responses_per_forward}) or rollout.vllm.memory, or set "
        "optimizer.gradient_checkpointing=true"
    )


def _cannot_write(error: Exception, run: "RunFolder") -> str | None:
    """Why the run's folder cannot be written, with the mend; None where that is not the error.

    Writers of weights report a full disk in errors of their own.
    """
    import shutil

    full = f"the disk is full ({run.path}); make room"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full
    if "No space left" in str(error):
        return full
    locked = (errno.EROFS, errno.EACCES, errno.EPERM)
    if (isinstance(error, OSError) and error.errno in locked) or "Read-only file" in str(error):
        return f"{run.path} cannot be written ({error}); make it writable"
    writes = isinstance(error, OSError | RuntimeError)
    return full if writes and shutil.disk_usage(run.path).free < _DISK_FULL else None


def _print_plan(recipe: "Recipe") -> None:
    from toolrest.dialects import AUTO
    from toolrest.recipe import dump_recipe
    from toolrest.weights import get_scheme

    if recipe.dialect == AUTO:
        from toolrest.policy import load_tokenizer
        from toolrest.rollout.fitting import fit_recipe

        recipe, _ = fit_recipe(recipe, load_tokenizer(recipe))
    if recipe.engine.name == "verl":
        _print_verl_command(recipe)
        return
    get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    recipe, reasons, ahead = _sized(recipe)
    typer.echo(dump_recipe(recipe, reasons), nl=False)
    for line in ahead:
        typer.echo(f"# {line}")
    sources = ", ".join(source.path for source in recipe.data.sources)
    data = recipe.data.path or sources or "the embedded world's tasks"
    if recipe.method != "rl":
        typer.echo(
            f"# plan: {recipe.method}, {recipe.warm_start.steps} steps of "
            f"{recipe.warm_start.batch_size} demonstrations from {data}; evaluation before and "
            f"after on up to {recipe.evaluation.samples} held-out samples"
        )
        return
    typer.echo(
        f"# plan: {recipe.max_steps} steps of {recipe.rollout.prompts_per_step} prompts x "
        f"{recipe.rollout.group_size} responses from {data}; a checkpoint every "
        f"{recipe.save_steps} steps; evaluation before and after on up to "
        f"{recipe.evaluation.samples} held-out samples"
    )
    if recipe.engine.processes > 1:
        typer.echo(
            f"# {recipe.engine.processes} processes ({recipe.engine.sharding}), "
            f"{recipe.responses_per_forward} responses a forward in each"
        )


def _sized(recipe: "Recipe") -> tuple["Recipe", dict[str, str], list[str]]:
    """The recipe with what follows from its policy, from what, and what to expect of the run; one
    whose policy or data are not here is left as it is, and says so.
    """
    from toolrest.doctor.hub import is_cached, is_hub_name, why_unreachable
    from toolrest.mixture import recipe_sources
    from toolrest.policy import load_tokenizer
    from toolrest.rollout.fitting import fit_recipe
    from toolrest.rollout.sizing import count_recipe, is_sized, refuse_memory, say_time, size_recipe

    if not is_sized(recipe):
        return recipe, {}, []
    try:
        asked = [source.path for source in recipe_sources(recipe)]
        away = [name for name in (recipe.policy, *asked) if is_hub_name(name)]
        away = [name for name in away if name != recipe.policy or not is_cached(name)]
        if away and (why := why_unreachable()) is not None:
            raise InputError(f"{away[0]} is not here, and {why}")
        tokenizer = load_tokenizer(recipe)
        recipe, _ = fit_recipe(recipe, tokenizer)
        recipe, settings = size_recipe(recipe, tokenizer)
        lengths = count_recipe(recipe, tokenizer)
    except InputError as error:
        later = "what the recipe does not say is worked out as the run starts, not here"
        return recipe, {}, [f"{later} ({error})"]
    refuse_memory(recipe, max(lengths.prompts, default=None))
    line = say_time(recipe, lengths)
    return recipe, {each.key: each.why for each in settings}, [line] if line else []


def _print_verl_command(recipe: "Recipe") -> None:
    from toolrest.engines.verl_overrides import (
        run_paths,
        shell_command,
        verl_command,
        verl_notes,
        verl_steps,
    )
    from toolrest.runs import RUNS

    name = recipe.name or _default_name(recipe)
    paths = run_paths(RUNS / name, evaluated=recipe.evaluation.samples > 0)
    environment, command = verl_command(recipe, name, paths)
    typer.echo(
        f"# {verl_steps(recipe)} generations of {recipe.rollout.prompts_per_step} prompts x "
        f"{recipe.rollout.group_size} responses, {recipe.max_steps} optimiser steps; "
        f"`toolrest train` writes the rows to {paths.train.parent} before it runs this"
    )
    for note in verl_notes(recipe):
        typer.echo(f"# note: {note}")
    typer.echo(shell_command(environment, command))


def _print_summary(summary: dict[str, Any], run: "RunFolder") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    before, after = summary["before"], summary["after"]
    if before is not None and after is not None:
        table = Table(title=f"held-out tasks, n = {after['n']}", title_justify="left")
        for heading in ("", "before", "after"):
            table.add_column(heading, justify="right" if heading else "left")
        for label, key, form in (
            ("exact match, sampled", "exact_match", "{:.1%}"),
            ("exact match, greedy", "greedy_exact_match", "{:.1%}"),
            ("reward, sampled (-3 to 4)", "reward", "{:.2f}"),
            ("reward, greedy (-3 to 4)", "greedy_reward", "{:.2f}"),
        ):
            if key in before and key in after:
                table.add_row(label, form.format(before[key]), form.format(after[key]))
        console.print(table)
    console.print(
        f"{summary['scheme']}, seed {summary['seed']}: {summary['steps']} steps, "
        f"{summary['seconds']:.0f} s"
    )
    console.print(f"run folder   {run.path}", soft_wrap=True)
    if run.metrics.is_file():
        console.print(f"a step each  tail -n 1 {run.metrics}", soft_wrap=True)
    responses = run.evaluation / "after.jsonl"
    if responses.is_file():
        console.print(f"responses    head -n 1 {responses}", soft_wrap=True)
    if summary["scheme"] in ("sft", "tsft", "rsft"):
        console.print(f"policy       {run.warm_start}", soft_wrap=True)
    elif summary["scheme"] != "uniform":
        console.print(f"with GRPO    {_same_with_grpo(run)}", soft_wrap=True)


def _same_with_grpo(run: "RunFolder") -> str:
    """The command that trains the same with uniform weights."""
    name = f"{run.path.name}-uniform"
    return f"toolrest train {run.recipe} name={name} 'weighting={{scheme: uniform}}'"

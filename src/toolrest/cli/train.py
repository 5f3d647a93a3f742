"""`toolrest train`: the job of a recipe, from evaluation to evaluation."""

import errno
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.errors import is_full, one_line_errors
from toolrest.cli.recipes import ARGUMENTS, split_arguments
from toolrest.errors import InputError, reason
from toolrest.io.terminal import note_loss, say, say_lost

if TYPE_CHECKING:
    from toolrest.engines.common.ranks import Ranks
    from toolrest.recipe import Recipe
    from toolrest.runs.folder import RunFolder

_DISK_FULL = 1 << 20
"""With fewer bytes free a failed write is put down to the disk."""


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
    with one_line_errors():
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
            _print_plan(recipe)
            return
        from toolrest.engines.common.ranks import join_ranks
        from toolrest.runs.claims import new_run
        from toolrest.runs.folder import RunFolder

        ranks = join_ranks()
        with ExitStack() as held:
            claim = new_run(recipe.name, _default_name(recipe))
            run = RunFolder(ranks.first(lambda: held.enter_context(claim).path))
            _run(recipe, run, ranks, resume=False, quiet=quiet)


def _default_name(recipe: "Recipe") -> str:
    from toolrest.errors import file_name

    policy = Path(recipe.policy).name or "policy"
    scheme = recipe.weighting.scheme.replace("*", "-") if recipe.method == "rl" else recipe.method
    return f"{file_name(f'{scheme}-{policy}')}-seed{recipe.seed}"


def _resume(
    resume: str, overrides: list[str], dry_run: bool, quiet: bool, *, trusted: bool, accept: bool
) -> None:
    from toolrest.engines.common.ranks import join_ranks
    from toolrest.io.files import write_whole
    from toolrest.recipe import (
        check_resumable,
        check_trusted,
        dump_recipe,
        load_recipe,
        load_run_recipe,
    )
    from toolrest.runs.claims import find_run, resumed_run
    from toolrest.runs.folder import RunFolder

    check_resumable(overrides)
    if dry_run:
        _print_plan(load_run_recipe(find_run(resume).recipe, overrides, trusted=trusted))
        return
    ranks = join_ranks()
    with ExitStack() as held:
        run = RunFolder(ranks.first(lambda: held.enter_context(resumed_run(resume)).path))
        recipe = load_recipe(run.recipe, overrides)
        if not trusted:
            check_trusted(recipe, run.recipe)
        if overrides:
            reasons = _reasons_left(run, overrides)
            written = dump_recipe(recipe, reasons, said=True)
            ranks.first(lambda: write_whole(run.recipe, written))
        _run(recipe, run, ranks, resume=True, quiet=quiet, accept=accept)


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
    """Do the job of a recipe here, or in the processes that it asks for."""
    engine = recipe.engine
    if engine.name == "verl":
        train_in_this_process(recipe, run, ranks, resume=resume, quiet=quiet, accept=accept)
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
        train_in_this_process(recipe, run, ranks, resume=resume, quiet=quiet, accept=accept)
        return
    from toolrest.engines.trl.processes import run_processes
    from toolrest.recipe import dump_recipe
    from toolrest.runs.folder import begin_run

    begin_run(run, dump_recipe(recipe, said=True), recipe.seed)
    code = run_processes(engine, run, quiet=quiet, accept=accept)
    if code:
        raise typer.Exit(code)


def train_in_this_process(
    recipe: "Recipe",
    run: "RunFolder",
    ranks: "Ranks",
    *,
    resume: bool,
    quiet: bool,
    accept: bool = False,
) -> None:
    """Do the job of a recipe, shown and reported by process 0, in a folder that is held.

    Args:
        accept: go on although the data have changed; see `toolrest.training.run_training`.

    Raises:
        InputError: something given cannot be used.
    """
    summary = _trained(recipe, run, ranks, resume=resume, quiet=quiet, accept=accept)
    if ranks.main:
        page = write_page(run)
        _print_summary(summary, run)
        if page is not None:
            say(f"report       {page}")
        say_lost(f"the run is done, in {run.path}")


def _trained(
    recipe: "Recipe",
    run: "RunFolder",
    ranks: "Ranks",
    *,
    resume: bool,
    quiet: bool,
    accept: bool,
) -> dict[str, Any]:
    """What summary.json holds, at the end of training."""
    from safetensors import SafetensorError

    from toolrest.engines.common.guarded_reward import RewardError
    from toolrest.engines.common.incidents import NonFiniteError
    from toolrest.engines.verl.job import run_verl_training
    from toolrest.report.live import LiveView
    from toolrest.training import Interrupted, run_training

    quiet_libraries()
    with LiveView(quiet=quiet or not ranks.main, rollouts=run.rollouts) as view:
        if ranks.main:
            note_loss(run.warnings, lambda: view.at)
        try:
            if recipe.engine.name == "verl":
                return run_verl_training(
                    recipe, run, view, resume=resume, accept_changed_data=accept
                )
            return run_training(
                recipe, run, view, resume=resume, ranks=ranks, accept_changed_data=accept
            )
        except (KeyboardInterrupt, Interrupted):
            view.close()
            if ranks.main:
                say(f"stopped; what is done is kept. Go on with: {_again(run, recipe)}", err=True)
            raise typer.Exit(130) from None
        except NonFiniteError as error:
            view.close()
            raise InputError(
                f"{error}; {run.incidents} has what led to it. Go on from the last checkpoint "
                f"with: {_again(run, recipe)} (guards.non_finite=skip leaves such steps out)"
            ) from error
        except RewardError as error:
            view.close()
            raise InputError(
                f"{error}; mend it, then go on with: {_again(run, recipe)} --accept-changed-data "
                "(guards.reward_error=skip goes on without it)"
            ) from error
        except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
            reason = _out_of_memory(error, recipe) or _cannot_write(error, run)
            if reason is None:
                raise
            view.close()
            raise InputError(f"{reason}, then go on with: {_again(run, recipe)}") from error


def _again(run: "RunFolder", recipe: "Recipe") -> str:
    """What goes on with a run; a new one in which nothing was done leaves nothing to resume."""
    from toolrest.recipe import names_code

    if not run.is_used():
        return "the same command"
    trust = " --trust-remote-code" if names_code(recipe) else ""
    return f"toolrest train --resume {run.path}{trust}"


def write_page(run: "RunFolder") -> Path | None:
    """The run's page; a run is no worse for one that cannot be written."""
    from toolrest.report.page_of_runs.write import write_report

    page = run.path / "report.html"
    try:
        write_report([run.path], page)
    except InputError as error:
        say(f"toolrest: {error}", err=True)
        return None
    return page


def quiet_libraries() -> None:
    """Leave the terminal to the view, and the network alone: no bars, no notices of deprecation and
    no telemetry from libraries.

    Raises:
        InputError: they cannot be used, as Python leaves docstrings out.
    """
    import sys
    import warnings

    if sys.flags.optimize > 1:
        raise InputError(
            "PYTHONOPTIMIZE=2 (python -OO) leaves out docstrings, which transformers needs; unset "
            "it, or use PYTHONOPTIMIZE=1"
        )

    from datasets.utils.logging import disable_progress_bar
    from huggingface_hub import constants
    from transformers.utils import logging

    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="You are using 'rollout_func'")


def _out_of_memory(error: Exception, recipe: "Recipe") -> str | None:
    """That memory ran out, with what takes less; None where that is not the error."""
    import torch

    from toolrest.io.redaction import first_line

    said = ("can't allocate memory", "out of memory")
    kinds = (torch.OutOfMemoryError, MemoryError)
    if not isinstance(error, kinds) and not any(text in str(error) for text in said):
        return None
    return (
        f"out of memory ({first_line(error)}); lower optimizer.micro_batch "
        f"(now {recipe.responses_per_forward}) or rollout.vllm.memory, or set "
        "optimizer.gradient_checkpointing=true"
    )


def _cannot_write(error: Exception, run: "RunFolder") -> str | None:
    """Why the run's folder cannot be written, with the mend; None where that is not the error.

    Writers of weights report a full disk in errors of their own.
    """
    import shutil

    named = error.filename if isinstance(error, OSError) else None
    if isinstance(named, str) and not Path(named).resolve().is_relative_to(run.path.resolve()):
        return f"{named} cannot be written ({reason(error)}); mend that" if is_full(error) else None
    there = run.path if run.is_used() else run.path.parent  # an unused folder is taken away
    full = f"the disk is full ({there}); make room"
    if is_full(error):
        return full
    locked = (errno.EROFS, errno.EACCES, errno.EPERM)
    if (isinstance(error, OSError) and error.errno in locked) or "Read-only file" in str(error):
        return f"{run.path} cannot be written ({error}); make it writable"
    writes = isinstance(error, OSError | RuntimeError)
    return full if writes and shutil.disk_usage(run.path).free < _DISK_FULL else None


def _print_plan(recipe: "Recipe") -> None:
    from toolrest.core.dialects import AUTO
    from toolrest.core.weights import get_scheme
    from toolrest.recipe import dump_recipe

    if recipe.dialect == AUTO:
        from toolrest.policy.fitting import fit_recipe
        from toolrest.policy.tokenizer import load_tokenizer

        recipe, _ = fit_recipe(recipe, load_tokenizer(recipe))
    if recipe.engine.name == "verl":
        _print_verl_command(recipe)
        return
    get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    recipe, reasons, ahead = _sized(recipe)
    say(dump_recipe(recipe, reasons).rstrip("\n"))
    for line in ahead:
        say(f"# {line}")
    sources = ", ".join(source.path for source in recipe.data.sources)
    data = recipe.data.path or sources or "the embedded world's tasks"
    if recipe.method != "rl":
        say(
            f"# plan: {recipe.method}, {recipe.warm_start.steps} steps of "
            f"{recipe.warm_start.batch_size} demonstrations from {data}; evaluation before and "
            f"after on up to {recipe.evaluation.samples} held-out samples"
        )
        return
    say(
        f"# plan: {recipe.max_steps} steps of {recipe.rollout.prompts_per_step} prompts x "
        f"{recipe.rollout.group_size} responses from {data}; a checkpoint every "
        f"{recipe.save_steps} steps; evaluation before and after on up to "
        f"{recipe.evaluation.samples} held-out samples"
    )
    if recipe.engine.processes > 1:
        say(
            f"# {recipe.engine.processes} processes ({recipe.engine.sharding}), "
            f"{recipe.responses_per_forward} responses a forward in each"
        )


def _sized(recipe: "Recipe") -> tuple["Recipe", dict[str, str], list[str]]:
    """The recipe with what follows from its policy, from what, and what to expect of the run; one
    whose policy or data are not here is left as it is, and says so.
    """
    from toolrest.doctor.hub import is_cached, is_hub_name, why_unreachable
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.sizing import count_recipe, is_sized, refuse_memory, say_time, size_recipe
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.recipe.sources import recipe_sources

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
    from toolrest.engines.verl.overrides import (
        run_paths,
        shell_command,
        verl_command,
        verl_notes,
        verl_steps,
    )
    from toolrest.runs.folder import RUNS

    name = recipe.name or _default_name(recipe)
    paths = run_paths(RUNS / name, evaluated=recipe.evaluation.samples > 0)
    environment, command = verl_command(recipe, name, paths)
    say(
        f"# {verl_steps(recipe)} generations of {recipe.rollout.prompts_per_step} prompts x "
        f"{recipe.rollout.group_size} responses, {recipe.max_steps} optimiser steps; "
        f"`toolrest train` writes the rows to {paths.train.parent} before it runs this"
    )
    for note in verl_notes(recipe):
        say(f"# note: {note}")
    say(shell_command(environment, command))


def _print_summary(summary: dict[str, Any], run: "RunFolder") -> None:
    from rich.table import Table

    from toolrest.io.console import console as plain_console

    console = plain_console()
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
    if "changed_data" in summary:
        console.print(f"before and after are not of the same data: {run.data}", soft_wrap=True)
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

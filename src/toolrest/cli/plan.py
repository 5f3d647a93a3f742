"""What `toolrest train --dry-run` prints: the resolved recipe and the plan, or verl's command."""

from pathlib import Path
from typing import TYPE_CHECKING

from toolrest.errors import InputError, counted, file_name
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.doctor.preflight import Place
    from toolrest.recipe import Recipe
    from toolrest.runs.folder import RunFolder


def default_name(recipe: "Recipe", path: Path | None = None) -> str:
    """A run's name of its recipe's file, scheme, policy, data and seed; what is said twice is left
    out once, and the embedded world is not said.
    """
    policy = Path(recipe.policy).name or "policy"
    scheme = recipe.weighting.scheme.replace("*", "-") if recipe.method == "rl" else recipe.method
    sources = [recipe.data.path] if recipe.data.path else [s.path for s in recipe.data.sources]
    data = Path(sources[0]).name.partition(".")[0] if len(sources) == 1 else "mixture"
    parts = [path.stem if path is not None and path.name != "recipe.yaml" else "", scheme]
    parts += [policy, data if sources else ""]
    words = dict.fromkeys(part for part in parts if part)
    return f"{file_name('-'.join(words))}-seed{recipe.seed}"


def print_plan(
    recipe: "Recipe", path: Path | None = None, *, run: "RunFolder | None" = None
) -> None:
    """Print what would be done, after the checks that a run begins with; nothing is done.

    The command of verl can be meant for another machine: what this one lacks for it is printed.

    Args:
        path: the recipe's file.
        run: the run that would go on; None: one would begin.

    Raises:
        InputError: it could not be.
    """
    from toolrest.doctor.preflight import NEW, Place, preflight
    from toolrest.recipe import dump_recipe
    from toolrest.recipe.unused import unused_note

    unused = unused_note(recipe)
    place = NEW if run is None else Place(run.path, run=run)
    if recipe.engine.name != "verl":
        preflight(recipe, name=recipe.name if run is None else None, place=place)
    if recipe.engine.name == "verl":
        _print_verl_command(recipe, path, place, unused)
        return
    recipe, reasons, ahead, heldout = _ahead(recipe)
    say(dump_recipe(recipe, reasons).rstrip("\n"))
    for line in ahead if unused is None else (unused, *ahead):
        say(f"# {line}")
    sources = ", ".join(source.path for source in recipe.data.sources)
    made = "the embedded world's tasks"
    if recipe.environment.source is not None:
        made = _made(recipe)
        made = made if recipe.acts else f"the demonstrated dialogues of {made}"
    data = recipe.data.path or sources or made
    evaluated = _evaluated(recipe, heldout)
    if recipe.method != "rl":
        say(
            f"# plan: {recipe.method}, {counted(recipe.warm_start.steps, 'step')} of "
            f"{recipe.warm_start.batch_size} demonstrations from {data}; {evaluated}"
        )
        return
    say(
        f"# plan: {counted(recipe.max_steps, 'step')} of "
        f"{counted(recipe.rollout.prompts_per_step, 'prompt')} x "
        f"{recipe.rollout.group_size} {'episodes' if recipe.acts else 'responses'} from {data}; "
        f"a checkpoint every {counted(recipe.save_steps, 'step')}; {evaluated}"
    )
    if recipe.environment.source is not None:
        from toolrest.environments.source import describe_source

        say(
            f"# environment: {describe_source(recipe.environment.source)}; up to "
            f"{counted(recipe.environment.max_turns, 'turn')} and "
            f"{counted(recipe.environment.max_trajectory_tokens, 'token')} an episode"
        )
    if recipe.engine.processes > 1:
        say(
            f"# {recipe.engine.processes} processes ({recipe.engine.sharding}), "
            f"{recipe.responses_per_process} responses of each optimiser step in each"
        )


def _evaluated(recipe: "Recipe", heldout: int | None) -> str:
    """On what the run is evaluated; None: of the held-out samples only the most is known."""
    samples, benchmarks = recipe.evaluation.samples, _benchmarks(recipe)
    if not samples:
        return benchmarks or "no evaluation (evaluation.samples=0)"
    if heldout == 0:
        return benchmarks or "no evaluation, as no row is held out"
    count = f"up to {samples}" if heldout is None else f"{min(samples, heldout)}"
    noun = "sample" if count == "1" else "samples"
    path = recipe.evaluation.path
    of = "" if path is None else f" of {path}"
    also = f"; {benchmarks}" if benchmarks else ""
    when = "before and after" if recipe.evaluation.before else "after training"
    return f"evaluation {when} on {count} held-out {noun}{of}{also}"


def _benchmarks(recipe: "Recipe") -> str:
    """The benchmarks that the policy is asked each time; empty without any."""
    asked = recipe.evaluation
    if not asked.benchmarks:
        return ""
    items = asked.benchmark_items
    most = "all items" if items is None else f"the first {counted(items, 'item')}"
    return f"{most} of each category of {', '.join(asked.benchmarks)} (its time is not known)"


def _ahead(recipe: "Recipe") -> tuple["Recipe", dict[str, str], list[str], int | None]:
    """(the recipe with what follows from its policy, from what, what to expect of the run, held-out
    samples or None if they are not counted).

    Raises:
        InputError: the run would stop at its rows, or memory is not there for it.
    """
    from toolrest.cli.plan_rows import planned_rows, read_first
    from toolrest.cli.work import quiet_libraries
    from toolrest.engines.common.run_rows import run_samples
    from toolrest.estimate.epochs import settle_epochs
    from toolrest.policy.fitting import cold_hint, fit_recipe
    from toolrest.policy.sizing import count_recipe, is_sized, refuse_memory, say_time, size_recipe
    from toolrest.policy.tokenizer import load_tokenizer

    own = bool(recipe.sources)
    heldout = None
    evaluated = bool(recipe.evaluation_sources)
    if recipe.acts and (own or evaluated):
        from toolrest.engines.common.episode_rows import episode_samples

        heldout, own, evaluated = len(episode_samples(recipe).heldout), False, False
    counted_ahead = own or evaluated or recipe.max_epochs is not None
    if not counted_ahead and not is_sized(recipe):
        return recipe, {}, [], heldout
    quiet_libraries()
    tokenizer = load_tokenizer(recipe)
    recipe, _ = fit_recipe(recipe, tokenizer)
    sources = read_first(recipe) if own else None
    recipe, settings = size_recipe(recipe, tokenizer, sources=sources)
    line = None
    if sources:
        line, heldout = planned_rows(recipe, tokenizer, sources)
    counts = evaluated and line is None
    if counts or recipe.max_epochs is not None:
        samples = run_samples(recipe, tokenizer)
        heldout = len(samples.heldout) if counts else heldout
        if recipe.max_epochs is not None:
            recipe, length = settle_epochs(recipe, len(samples.train))
            settings = (*settings, *length)
    said = [line, cold_hint(recipe)]
    if is_sized(recipe):
        lengths = count_recipe(recipe, tokenizer, sources)
        refuse_memory(recipe, max(lengths.prompts, default=None))
        said.append(say_time(recipe, lengths, heldout))
    reasons = {each.key: each.why for each in settings}
    return recipe, reasons, [each for each in said if each is not None], heldout


def _fitted(recipe: "Recipe") -> tuple["Recipe", list[str], str | None]:
    """(recipe fitted to the policy's chat template as the run fits it, what to know of it, why it
    is as it was where the policy is on another machine).

    Raises:
        InputError: the template is not here and dialect=auto asks for it, or it does not do.
    """
    from toolrest.cli.work import quiet_libraries
    from toolrest.core.dialects import AUTO
    from toolrest.io.hub import calm_hub
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.tokenizer import load_tokenizer

    quiet_libraries()
    calm_hub()
    try:
        tokenizer = load_tokenizer(recipe)
    except InputError as error:
        if recipe.dialect == AUTO:
            raise
        unseen = "the policy's chat template, by which the run words its prompts, was not looked at"
        return recipe, [], f"{unseen}: {error}"
    return *fit_recipe(recipe, tokenizer), None


def _print_verl_command(
    recipe: "Recipe", path: Path | None, place: "Place", unused: str | None
) -> None:
    from toolrest.engines.verl.checks import verl_notes
    from toolrest.engines.verl.hydra import shell_command
    from toolrest.engines.verl.launch import last_step
    from toolrest.engines.verl.overrides import run_paths, verl_command, verl_steps
    from toolrest.estimate.epochs import refuse_epochs
    from toolrest.runs.folder import RUNS

    refuse_epochs(recipe, "--dry-run with engine=verl")
    recipe, notes, unseen = _fitted(recipe)
    run = place.run
    name = recipe.name or default_name(recipe, path) if run is None else run.path.name
    folder = RUNS / name if run is None else run.path
    first = 0 if run is None else last_step(run.checkpoints)
    paths = run_paths(folder, evaluated=recipe.evaluation.samples > 0, first=first)
    environment, command = verl_command(recipe, name, paths)
    say(
        f"# {verl_steps(recipe)} generations of {recipe.rollout.prompts_per_step} prompts x "
        f"{recipe.rollout.group_size} responses, {recipe.max_steps} optimiser steps; "
        f"`toolrest train` writes the rows to {paths.train.parent} before it runs this"
    )
    if unused is not None:
        say(f"# {unused}")
    for note in (*notes, *verl_notes(recipe)):
        say(f"# note: {note}")
    for line in (*([unseen] if unseen else ()), *not_here(recipe, place)):
        say(line, err=True)
    say(shell_command(environment, command))


def not_here(recipe: "Recipe", place: "Place") -> list[str]:
    """What would stop the run on this machine, a line each; what is not asked of it is left out."""
    from toolrest.doctor.preflight import checks_of

    found = []
    for check in checks_of(place):
        try:
            check(recipe)
        except InputError as error:
            found.append(f"here `toolrest train` would not start: {error}")
    return found


def _made(recipe: "Recipe") -> str:
    from toolrest.engines.common.episode_rows import made_rows

    rows = made_rows(recipe)
    return f"{rows} dialogues" if recipe.environment.source == "bfcl" else f"{rows} made rows"

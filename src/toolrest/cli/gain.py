"""`toolrest gain`: how much a normalised step of each method improves a target at a policy."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.measured import (
    Group,
    Output,
    Run,
    Trust,
    fitted_recipe,
    measured_policies,
    measured_samples,
    trained_parameters,
    without_nan,
)
from toolrest.cli.recipes import ARGUMENTS
from toolrest.io.terminal import require_shown, say, say_lost

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.data.sample import Sample
    from toolrest.experiments.gain_methods import GainMethod
    from toolrest.experiments.gain_rank import Ranks
    from toolrest.experiments.gain_report import GainPlan, Gains
    from toolrest.recipe import Recipe

_METHODS = "grpo,rest,rest@0.5,official,gtpo,actions,spans"
_MOST_BYTES = 16 * 2**30
"""Of gradients held at once, whatever the machine has."""
_SHARE = 0.7
"""Of the free memory that gradients may take."""


def gain(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="As `toolrest compare --list` names them; rest@0.5 is half way through a run.",
            metavar="NAMES",
        ),
    ] = _METHODS,
    prompts: Annotated[
        int, typer.Option(min=8, help="Prompts; a group of responses to each.")
    ] = 32,
    group: Group = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Prompts of a step; those of the recipe's step if not."),
    ] = None,
    target: Annotated[
        str, typer.Option(help="What a step is to improve: reward, exact, or both.")
    ] = "reward,exact",
    run: Run = None,
    against: Annotated[
        Path | None, typer.Option(help="A comparison's folder, whose ranking is compared.")
    ] = None,
    trust_remote_code: Trust = False,
    output: Output = None,
) -> None:
    """Measure how much a step of each method improves the target at a policy, or along a run."""
    with one_line_errors():
        from toolrest.cli.gain_tables import print_gain, print_ranks
        from toolrest.cli.work import quiet_libraries
        from toolrest.experiments.gain_methods import check_targets, read_gain_methods
        from toolrest.experiments.gain_report import GainPlan

        quiet_libraries()
        recipe, policies = measured_policies(arguments or [], run, group, trust_remote_code)
        targets = check_targets(target)
        read_gain_methods(recipe, methods)  # what cannot be measured is told before all else
        recipe, tokenizer = fitted_recipe(recipe)
        chosen = read_gain_methods(recipe, methods)
        training = None if against is None else _training(against, chosen)
        step = _step(recipe, prompts, batch)
        samples = measured_samples(recipe, tokenizer, prompts)
        found = {
            label: _measure(
                (recipe, tokenizer, samples),
                (label, folder),
                GainPlan(chosen, targets, step, _progress(recipe, label)),
            )
            for label, folder in policies
        }
        ranks: dict[str, list[Ranks]] = {}
        if training is not None:
            from toolrest.experiments.gain_rank import rank_against

            ranks = {label: rank_against(each, training) for label, each in found.items()}
        if output is not None:
            from dataclasses import asdict

            from toolrest.io.files import write_json, writing

            values = {
                label: each.values
                | ({"ranks": [asdict(r) for r in ranks[label]]} if label in ranks else {})
                for label, each in found.items()
            }
            with writing(output):
                write_json(output, without_nan(values))
        for label, each in found.items():
            print_gain(label, each.values)
            if label in ranks:
                print_ranks(ranks[label])
        if output is not None:
            say(f"all figures  {output}")
            say_lost(f"all figures are in {output}")
        else:
            require_shown()


def _training(folder: Path, chosen: "Sequence[GainMethod]") -> dict:
    """Each shared method's final values by seed, and a line on what is missing."""
    from toolrest.experiments.gain_rank import training_results

    results, missing = training_results(folder, [method.name for method in chosen])
    for line in missing:
        say(line, err=True)
    return results


def _step(recipe: "Recipe", prompts: int, batch: int | None) -> int:
    """The prompts of one step."""
    from toolrest.errors import InputError

    step = batch or recipe.responses_per_update // recipe.rollout.group_size
    if step > prompts:
        raise InputError(
            f"--prompts {prompts}: fewer than the {step} of one step; use more, or a smaller "
            "--batch"
        )
    return step


def _progress(recipe: "Recipe", label: str) -> float:
    """Which share of its run the policy of that label has behind it."""
    word, _, number = label.partition(" ")
    return min(int(number) / recipe.max_steps, 1.0) if word == "step" else 0.0


def _measure(
    given: "tuple[Recipe, PreTrainedTokenizerBase, Sequence[Sample]]",
    policy: tuple[str, Path | None],
    plan: "GainPlan",
) -> "Gains":
    from toolrest.cli.progress import shown_progress
    from toolrest.experiments.gain_report import gain_at, passes
    from toolrest.policy.weights import load_policy
    from toolrest.rollout.sampler import shares_prefix

    (recipe, tokenizer, samples), (label, folder) = given, policy
    prompts = len(samples)
    model = load_policy(recipe, folder)
    shares_prefix(model, "shared_prefix")
    trained = trained_parameters(model, recipe)
    _check_size(sum(p.numel() for p in trained), prompts, len(plan.targets))
    say(f"{label}: {prompts} prompts x {recipe.rollout.group_size} responses are sampled", err=True)
    passed = count(1)
    with shown_progress(f"gradients of {label}", prompts * passes(plan)) as show:
        return gain_at(
            model,
            tokenizer,
            samples,
            recipe,
            plan,
            on_prompt=lambda: show(next(passed)),
        )


def _check_size(parameters: int, prompts: int, targets: int) -> None:
    """A gradient of each prompt by region, and one for each target, are held at once."""
    from toolrest.core.regions import Region
    from toolrest.errors import InputError
    from toolrest.policy.sizing import free_memory

    need = 4 * parameters * prompts * (len(Region) + targets)
    most = min(_MOST_BYTES, int(_SHARE * free_memory()))
    if need > most:
        fits = most // (4 * parameters * (len(Region) + targets))
        raise InputError(
            f"--prompts {prompts}: the gradients of {parameters / 1e6:.1f} M parameters need "
            f"{need / 2**30:.1f} GiB, and {most / 2**30:.1f} may be used; "
            + (f"use --prompts {fits}, or " if fits >= 8 else "")
            + "low-rank adapters (lora.rank=1), fewer modules (lora.target_modules=q_proj), or a "
            "smaller policy"
        )

"""`toolrest variance`: how much the policy gradient varies under each weighting, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from toolrest.data.sample import Sample
    from toolrest.recipe import Recipe

_SCHEMES = "rest,rest@0.5,rest@1,rest:inverse_entropy,rest:collision,optimum"
_MOST_BYTES = 8 * 2**30
"""Of gradients held at once; what is meant for a small policy should not fill the machine."""


def variance(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    prompts: Annotated[
        int, typer.Option(min=4, help="Prompts; a group of responses to each.")
    ] = 32,
    group: Group = None,
    schemes: Annotated[
        str,
        typer.Option(
            help="Commas between; rest@0.5 is half way, rest:collision another entropy rule.",
            metavar="NAMES",
        ),
    ] = _SCHEMES,
    run: Run = None,
    trust_remote_code: Trust = False,
    output: Output = None,
) -> None:
    """Measure the gradient's variance at a policy, or along a run."""
    with one_line_errors():
        from toolrest.cli.variance_tables import print_variance
        from toolrest.cli.work import quiet_libraries
        from toolrest.experiments.fixed_policy import check_fixed
        from toolrest.experiments.trajectories import ADVANTAGES

        quiet_libraries()
        recipe, policies = measured_policies(arguments or [], run, group, trust_remote_code)
        check_fixed(recipe, "the variance", ADVANTAGES)
        recipe, tokenizer = fitted_recipe(recipe)
        names = [name for name in schemes.split(",") if name and name != "uniform"]
        samples = measured_samples(recipe, tokenizer, prompts)
        found = {
            label: _measure((recipe, tokenizer, samples), (label, folder), names)
            for label, folder in policies
        }
        if output is not None:
            from toolrest.io.files import write_json, writing

            with writing(output):
                write_json(output, without_nan(found))
        for label, result in found.items():
            print_variance(label, result)
        if output is not None:
            say(f"all figures  {output}")
            say_lost(f"all figures are in {output}")
        else:
            require_shown()


def _measure(
    given: "tuple[Recipe, PreTrainedTokenizerBase, Sequence[Sample]]",
    policy: tuple[str, Path | None],
    names: list[str],
) -> dict[str, Any]:
    from toolrest.cli.progress import shown_progress
    from toolrest.experiments.variance_report import variance_at
    from toolrest.policy.weights import load_policy
    from toolrest.rollout.sampler import shares_prefix

    (recipe, tokenizer, samples), (label, folder) = given, policy
    prompts = len(samples)
    model = load_policy(recipe, folder)
    shares_prefix(model, "shared_prefix")
    trained = trained_parameters(model, recipe)
    _check_size(sum(p.numel() for p in trained), prompts, len(names) + 1)
    say(f"{label}: {prompts} prompts x {recipe.rollout.group_size} responses are sampled", err=True)
    with shown_progress(f"gradients of {label}", prompts * recipe.rollout.group_size) as show:
        found = variance_at(model, tokenizer, samples, recipe, names, show)
    return {**found, "agreement": _agreement(found["regions"])}


def _check_size(parameters: int, prompts: int, weightings: int) -> None:
    """Each weighting holds a gradient of each group of a half, and two of each region."""
    from toolrest.core.regions import Region
    from toolrest.errors import InputError

    need = 4 * parameters * weightings * (prompts // 2 + 2 * len(Region))
    if need > _MOST_BYTES:
        raise InputError(
            f"--prompts {prompts}: the gradients of {parameters / 1e6:.1f} M parameters under "
            f"{weightings} weightings need {need / 2**30:.0f} GiB, more than "
            f"{_MOST_BYTES / 2**30:.0f}; use fewer --prompts or --schemes, or a smaller policy"
        )


def _agreement(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By guess at the second moment of a token's score: the weights of least variance by it, the
    factor by which it is typically off, and how many times the least variance its weights cost, by
    all parameters' moments and by those times the squared advantage.
    """
    import torch

    from toolrest.experiments.policy_gradients import FEW
    from toolrest.experiments.variance import (
        excess_variance,
        least_variance_weights,
        typical_factor,
    )

    rows = [row for row in rows if row["tokens"] >= FEW]

    def column(key: str) -> torch.Tensor:
        return torch.tensor([row[key] for row in rows], dtype=torch.float64)

    counts, names = column("tokens"), [row["region"] for row in rows]
    truth, signed = column("parameters"), column("gradient_square") / counts
    guesses = {
        "equal weights": torch.ones_like(counts),
        "1-exp(-mean H)": -torch.expm1(-column("entropy")),
        "mean H": column("entropy"),
        "1-sum p^2": column("collision"),
        "last layer": column("last_layer_expected"),
        "last layer, sampled": column("last_layer"),
        "last layer, sums": column("last_layer_sum"),
        "all parameters": column("single_tokens"),
        "all parameters, sums": truth,
        "all parameters, A": signed,
    }
    return {
        name: {
            "weights": dict(
                zip(names, least_variance_weights(guess, counts).tolist(), strict=True)
            ),
            "off_by": typical_factor(guess, truth, counts),
            "variance": excess_variance(guess, truth, counts),
            "variance_with_advantages": excess_variance(guess, signed, counts),
        }
        for name, guess in guesses.items()
    }

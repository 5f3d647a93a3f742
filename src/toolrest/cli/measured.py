"""The policies that a command measures: a recipe's, or a run's first and kept ones."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.recipes import split_arguments
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from torch.nn import Parameter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from toolrest.data.sample import Sample
    from toolrest.recipe import Recipe
    from toolrest.runs.folder import RunFolder

Group = Annotated[
    int | None,
    typer.Option(min=2, help="Responses to a prompt; the recipe's rollout.group_size if not."),
]
Run = Annotated[
    Path | None, typer.Option(help="A run's folder: its recipe, and every checkpoint it kept.")
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the policy.")
]
Output = Annotated[Path | None, typer.Option(help="JSON file that receives all figures.")]

_USED = ("data.max_prompt_tokens", "rollout.max_response_tokens", "rollout.group_size")
"""Of the settings that follow from a policy, those that a measurement has."""


def measured_policies(
    arguments: list[str], run: Path | None, group: int | None = None, trust: bool = False
) -> tuple["Recipe", list[tuple[str, Path | None]]]:
    """The recipe as it was given, and by label the folder of each policy; None: the recipe's own.

    Args:
        arguments: a recipe and its overrides.
        run: a run's folder; the policy that reinforcement learning began from, after a warm start
            if there was one, and every checkpoint that it kept.
        group: responses to a prompt; None: as the recipe has it.
        trust: whether code that comes with the policy is run.

    Raises:
        InputError: it is no run, or its data or policy have changed since; or the recipe would
            have its policy taught first, or adapters are asked for without peft.
    """
    from toolrest.errors import InputError
    from toolrest.policy.folder import kept_recipe
    from toolrest.recipe import load_recipe, load_run_recipe
    from toolrest.runs.folder import RunFolder

    more = [] if group is None else [f"rollout.group_size={group}"]
    more += ["trust_remote_code=true"] if trust else []
    path, overrides = split_arguments([*arguments, *more])
    if run is None:
        recipe = load_recipe(path, overrides)
        _check_begun(recipe)
        _check_adapters(recipe)
        return recipe, [(recipe.policy, None)]
    folder = RunFolder(run)
    if not folder.recipe.is_file():
        from toolrest.runs.missing import no_run

        raise InputError(f"--run {run}: {no_run(run)}")
    if path is not None:
        raise InputError(f"{path}: with --run the recipe is the run's own")
    recipe = kept_recipe(load_run_recipe(folder.recipe, overrides, trusted=False), folder.recipe)
    _check_adapters(recipe)
    _check_unchanged(recipe, folder)
    whole = folder.whole_checkpoints().items()
    kept = [(f"step {step}", each) for step, each in whole if _is_policy(each)]
    taught = folder.warm_start if _is_policy(folder.warm_start) else None
    return recipe, [("step 0", taught), *kept]


def _check_begun(recipe: "Recipe") -> None:
    """The policy of a recipe is the one that reinforcement learning begins from."""
    from toolrest.errors import InputError

    if recipe.method != "rl":
        raise InputError(
            f"method={recipe.method}: steps of reinforcement learning are measured; use method=rl"
        )
    method = recipe.warm_start.method
    if method != "none":
        raise InputError(
            f"warm_start.method={method}: the policy would be measured before it is taught; use "
            "warm_start.method=none, with policy=runs/NAME/warm_start for one that is"
        )


def _check_adapters(recipe: "Recipe") -> None:
    from toolrest.recipe.extras import EXTRAS, check_extra

    if recipe.lora.rank:
        check_extra(EXTRAS["lora"], f"lora.rank={recipe.lora.rank}")


def trained_parameters(model: "PreTrainedModel", recipe: "Recipe") -> "list[Parameter]":
    """Those that gradients are of: all, or of fresh adapters B alone.

    At the start B = 0, so the gradient of A is 0, and the policy is the one without adapters.
    """
    if recipe.lora.rank:
        import torch
        from peft import inject_adapter_in_model

        from toolrest.engines.trl.settings import lora_config

        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(lora_config(recipe), model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(".lora_B." in name)
    return [p for p in model.parameters() if p.requires_grad]


def fitted_recipe(recipe: "Recipe") -> tuple["Recipe", "PreTrainedTokenizerBase"]:
    """(the recipe with what follows from its policy and its chat template, as a run has it; the
    policy's tokenizer).

    Raises:
        InputError: the policy cannot be loaded, or the recipe does not fit it.
    """
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.sizing import size_recipe
    from toolrest.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(recipe)
    fitted, notes = fit_recipe(recipe, tokenizer)
    sized, settings = size_recipe(fitted, tokenizer)
    for note in (*notes, *(str(each) for each in settings if each.key in _USED)):
        say(note)
    return sized, tokenizer


def measured_samples(
    recipe: "Recipe", tokenizer: "PreTrainedTokenizerBase", prompts: int
) -> "Sequence[Sample]":
    """The first samples of the training data.

    Args:
        recipe: by `fitted_recipe`, so that its prompts are those that a run has.
        prompts: how many.

    Raises:
        InputError: the data has fewer.
    """
    from toolrest.engines.common.data import load_samples
    from toolrest.errors import InputError

    samples = load_samples(recipe, tokenizer).train[:prompts]
    if len(samples) < prompts:
        raise InputError(f"--prompts {prompts}: the data has {len(samples)}")
    return samples


def _check_unchanged(recipe: "Recipe", run: "RunFolder") -> None:
    """What the run was trained on is still there, but for what an override has replaced."""
    from toolrest.errors import InputError, short_list
    from toolrest.runs.origins import differences, file_origins, read_origins

    now, before = file_origins(recipe), read_origins(run.data)
    both = before.keys() & now.keys()
    changed = differences({name: before[name] for name in both}, {name: now[name] for name in both})
    if changed:
        raise InputError(
            f"--run {run.path}: since the run began, {short_list(changed)}; put back what was there"
        )
    if not before:
        say(f"note: {run.path} has kept no hashes of its data and policy", err=True)


def _is_policy(folder: Path) -> bool:
    from toolrest.policy.adapters import has_adapters

    return (folder / "config.json").is_file() or has_adapters(folder)


def without_nan(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""`toolrest variance`: how much the policy gradient varies under each weighting, and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.recipes import ARGUMENTS, split_arguments

if TYPE_CHECKING:
    from toolrest.recipe import Recipe

_SCHEMES = "rest,rest@1,rest:inverse_entropy,rest:collision,official,optimum"


def variance(
    arguments: Annotated[list[str] | None, ARGUMENTS] = None,
    prompts: Annotated[
        int, typer.Option(min=4, help="Prompts; a group of responses to each.")
    ] = 32,
    schemes: Annotated[
        str,
        typer.Option(
            help="Commas between; rest@0.5 is half way, rest:collision another entropy rule.",
            metavar="NAMES",
        ),
    ] = _SCHEMES,
    run: Annotated[
        Path | None, typer.Option(help="A run's folder: its recipe, and every checkpoint it kept.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file that receives all figures.")] = (
        None
    ),
) -> None:
    """Measure the gradient's variance at a policy, or along a run."""
    with one_line_errors():
        from toolrest.cli.train import calm_libraries

        calm_libraries()
        recipe, policies = _policies(arguments or [], run)
        names = [name for name in schemes.split(",") if name and name != "uniform"]
        found = {
            label: _measure(recipe, folder, label, prompts, names) for label, folder in policies
        }
        if output is not None:
            from toolrest.runs import write_json

            try:
                write_json(output, found)
            except OSError as error:
                from toolrest.errors import InputError

                raise InputError(f"{output}: cannot be written: {error.strerror}") from error
    for label, result in found.items():
        _print(label, result)
    if output is not None:
        typer.echo(f"all figures  {output}")


def _policies(
    arguments: list[str], run: Path | None
) -> tuple["Recipe", list[tuple[str, Path | None]]]:
    """The recipe, and by label the folder of each policy; None: the recipe's own."""
    from toolrest.errors import InputError
    from toolrest.recipe import load_recipe
    from toolrest.runs import RunFolder

    path, overrides = split_arguments(arguments)
    if run is None:
        recipe = load_recipe(path, overrides)
        return recipe, [(recipe.policy, None)]
    folder = RunFolder(run)
    if not folder.recipe.is_file():
        raise InputError(f"--run {run}: no run is there (it has no recipe.yaml)")
    if path is not None:
        raise InputError(f"{path}: with --run the recipe is the run's own")
    recipe = load_recipe(folder.recipe, overrides)
    kept = sorted(
        (int(each.name.split("-")[1]), each)
        for each in folder.checkpoints.glob("checkpoint-*")
        if each.name.split("-")[1].isdigit() and (each / "config.json").is_file()
    )
    return recipe, [("step 0", None), *((f"step {step}", each) for step, each in kept)]


def _measure(
    recipe: "Recipe", folder: Path | None, label: str, prompts: int, names: list[str]
) -> dict[str, Any]:
    from rich.progress import Progress

    from toolrest.errors import InputError
    from toolrest.policy import load_policy, load_tokenizer
    from toolrest.rollout.sampler import shares_prefix
    from toolrest.study.variance_report import variance_at
    from toolrest.training import load_samples

    tokenizer = load_tokenizer(recipe)
    samples = load_samples(recipe, tokenizer).train[:prompts]
    if len(samples) < prompts:
        raise InputError(f"--prompts {prompts}: the data has {len(samples)}")
    model = load_policy(recipe, folder)
    shares_prefix(model, "shared_prefix")
    with Progress(transient=True) as progress:
        task = progress.add_task(label, total=prompts * recipe.rollout.group_size)
        return variance_at(
            model,
            tokenizer,
            samples,
            recipe,
            names,
            lambda done: progress.update(task, completed=done),
        )


def _print(label: str, result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    title = f"{label}: second moments of a token's score, {result['trajectories']} trajectories"
    moments = Table(title=title, title_justify="left")
    headings = ("region", "tokens", "H, nats", "1-exp(-H)", "1-sum p^2", "sampled", "last layer")
    for heading in (*headings, "all parameters", "least-variance weight"):
        moments.add_column(heading, justify="left" if heading == "region" else "right")
    for row in result["regions"]:
        keys = ("entropy", "bound", "collision", "sampled", "last_layer", "parameters")
        figures = [f"{row[key]:.3g}" for key in keys]
        weight = f"{row['weights']['parameters']:.2f}"
        moments.add_row(row["region"], str(row["tokens"]), *figures, weight)
    console.print(moments)
    table = Table(title="one trajectory's gradient", title_justify="left")
    for heading in ("scheme", "tr Cov", "bound (1)", "bound (2)", "signal / tr Cov", "cosine"):
        table.add_column(heading, justify="left" if heading == "scheme" else "right")
    for row in result["weightings"]:
        table.add_row(
            row["scheme"],
            f"{row['trace']:.3g} ± {row['trace_error']:.1g}",
            f"{row['bound_independent']:.3g}",
            f"{row['bound_always']:.3g}",
            f"{row['ratio']:.3f} ± {row['ratio_error']:.3f}",
            f"{row['cosine']:.3f}",
        )
    console.print(table)

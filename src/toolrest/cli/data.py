"""`toolrest data`: prepare, check and show data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.errors import one_line_errors

if TYPE_CHECKING:
    from toolrest.data.check import Report
    from toolrest.data.decompose import Rendering
    from toolrest.data.sources import Source
    from toolrest.recipe import Recipe

data = typer.Typer(
    name="data",
    help="Prepare, check and show data sets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_INPUTS = typer.Argument(
    metavar="FILE... | RECIPE [KEY=VALUE]...",
    help="Files of any format or hub names; or a recipe (.yaml) with data.sources; then overrides "
    "such as dialect=hermes.",
    show_default=False,
)


@data.command()
def prepare(
    inputs: Annotated[list[str], _INPUTS],
    output: Annotated[Path, typer.Option(help="The .parquet file to write.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Write the samples of all sources into one parquet file, with a manifest."""
    with one_line_errors():
        from rich.console import Console
        from rich.progress import Progress, TextColumn, TimeElapsedColumn

        from toolrest.data.prepare import manifest_path
        from toolrest.data.prepare import prepare as run_prepare

        recipe, sources, rendering = _read(inputs)
        console = Console(stderr=True, highlight=False, markup=False)
        bar = Progress(
            TextColumn("{task.completed:,.0f} samples"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        try:
            with bar:
                task = bar.add_task("", total=None)
                manifest = run_prepare(
                    sources,
                    rendering,
                    output,
                    recipe.seed,
                    lambda count: bar.update(task, completed=count),
                )
        except KeyboardInterrupt:
            typer.echo(f"stopped; {output} is as it was. The same command begins anew", err=True)
            raise typer.Exit(130) from None
        for source in manifest["sources"]:
            typer.echo(f"{source['path']}: {source['samples']} samples")
            for reason, count in source["left_out"].items():
                rows = source["left_out_rows"][reason]
                more = ", .." if count > len(rows) else ""
                typer.echo(f"  left out {count}: {reason} (rows {', '.join(rows)}{more})")
        typer.echo(f"{manifest['samples']} samples in {output}; {manifest_path(output)}")


@data.command()
def check(
    inputs: Annotated[list[str], _INPUTS],
    policy: Annotated[
        str | None, typer.Option(help="Whose tokens are counted; none are without it.")
    ] = None,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Longer prompts are named. Default: the recipe's.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Files, or 'bfcl', whose questions must not be among the rows."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all findings.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of each kind that are printed.")] = 5,
) -> None:
    """Report what is wrong, by row: parse errors, unlisted tools, types, duplicates, overlaps."""
    with one_line_errors():
        from toolrest.data.check import check as run_check
        from toolrest.data.prompts import render_prompt
        from toolrest.policy import load_tokenizer

        recipe, sources, rendering = _read(inputs)
        tokenizer: Any = None
        if policy is not None:
            tokenizer = load_tokenizer(recipe.model_copy(update={"policy": policy}))
        reports = run_check(
            sources,
            rendering,
            seed=recipe.seed,
            length=None if tokenizer is None else lambda s: len(render_prompt(s, tokenizer)),
            max_prompt_tokens=max_prompt_tokens or recipe.data.max_prompt_tokens,
            against=_questions(against or [], rendering, recipe.seed),
        )
        if output is not None:
            from toolrest.errors import InputError
            from toolrest.runs import write_json

            try:
                write_json(output, [report.to_dict() for report in reports])
            except OSError as error:
                raise InputError(f"{output}: cannot be written: {error.strerror}") from error
    for report in reports:
        _print_report(report, rows)


@data.command()
def show(
    inputs: Annotated[list[str], _INPUTS],
    row: Annotated[int, typer.Option(help="Which sample, from 0.")] = 0,
    policy: Annotated[
        str | None, typer.Option(help="Print the prompt as its chat template writes it.")
    ] = None,
) -> None:
    """Print a sample as the policy sees it, and its ground truth."""
    with one_line_errors():
        from itertools import islice

        from toolrest.data.prompts import render_prompt
        from toolrest.data.sources import Skipped, iterate_samples
        from toolrest.errors import InputError
        from toolrest.naming import printable
        from toolrest.policy import load_tokenizer

        recipe, sources, rendering = _read(inputs)
        samples = (
            sample
            for source in sources
            for sample in iterate_samples(source, rendering, recipe.seed, Skipped())
        )
        sample = next(islice(samples, row, None), None) if row >= 0 else None
        if sample is None:
            raise InputError(f"--row {row}: there is no such sample")
        if policy is None:
            prompt = "\n".join(_message(message) for message in sample.prompt)
            if sample.tools is not None:
                prompt = f"[tools] {_json(list(sample.tools))}\n{prompt}"
        else:
            tokenizer = load_tokenizer(recipe.model_copy(update={"policy": policy}))
            ids = render_prompt(sample, tokenizer)
            prompt = str(tokenizer.decode(ids))
            typer.echo(f"{len(ids)} tokens")
        said = f"{sample.source}, {sample.identity}\n\n{prompt}\n\n[ground truth]\n"
        said += sample.ground_truth
        if sample.true_names is not None:
            from toolrest.data.masking import unmasked

            said += f"\n\n[with true names]\n{unmasked(sample.ground_truth, sample.true_names)}"
        if sample.demonstration is not None:
            said += f"\n\n[demonstration]\n{sample.demonstration}"
        typer.echo(printable(said, keep="\n\t"))


def _message(message: dict[str, Any]) -> str:
    extra = {k: v for k, v in message.items() if k not in ("role", "content")}
    text = f"[{message['role']}] {message.get('content') or ''}"
    return f"{text} {_json(extra)}" if extra else text


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _read(inputs: list[str]) -> "tuple[Recipe, list[Source], Rendering]":
    """The recipe of the overrides, the sources that it or the arguments name, and the wording."""
    from toolrest.cli.train import calm_libraries
    from toolrest.data.sources import Source
    from toolrest.errors import InputError
    from toolrest.mixture import recipe_rendering, recipe_sources
    from toolrest.recipe import load_recipe

    calm_libraries()
    overrides = [text for text in inputs if "=" in text and not Path(text).exists()]
    files = [text for text in inputs if text not in overrides]
    recipes = [text for text in files if text.endswith((".yaml", ".yml"))]
    paths = [text for text in files if text not in recipes]
    if len(recipes) > 1:
        raise InputError(f"{recipes[1]}: one recipe is enough")
    # the dialect is checked against the data that the arguments name
    own = ["data.path=" + paths[0]] if paths else []
    recipe = load_recipe(Path(recipes[0]) if recipes else None, [*overrides, *own])
    sources = [Source(path) for path in paths] or recipe_sources(recipe)
    if not sources:
        raise InputError("no data: name files, or a recipe with data.path or data.sources")
    return recipe, sources, recipe_rendering(recipe)


def _questions(against: list[str], rendering: "Rendering", seed: int) -> Any:
    """The questions of benchmarks, indexed; None where there are none."""
    if not against:
        return None
    from toolrest.data.check import questions_of
    from toolrest.data.overlap import Questions
    from toolrest.data.sources import Source

    index = Questions(())
    for name in against:
        if name == "bfcl":
            from toolrest.evaluate.bfcl.questions import bfcl_questions

            pairs = bfcl_questions()
        else:
            pairs = questions_of(Source(name), rendering, seed)
        for label, text in pairs:
            index.add(label, text)
    return index


def _print_report(report: "Report", rows: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from toolrest.data.check import KINDS

    console = Console(highlight=False, markup=False)
    title = f"{report.source}: {report.rows} rows, {report.samples} samples"
    console.print(title, soft_wrap=True)
    if report.findings:
        table = Table()
        for heading in ("", "rows", "first of them"):
            table.add_column(heading, justify="right" if heading == "rows" else "left")
        for kind in KINDS:
            found = report.findings.get(kind, [])
            if found:
                first = "\n".join(f"{row}: {detail}" for row, detail in found[:rows])
                table.add_row(kind, str(len({row for row, _ in found})), first)
        console.print(table)
    else:
        console.print("nothing found")
    if report.lengths:
        _print_histogram(report.lengths, console)


def _print_histogram(lengths: list[int], console: Any) -> None:
    import numpy as np

    counts, edges = np.histogram(lengths, bins=min(10, max(1, len(set(lengths)))))
    widest = max(counts)
    console.print(f"prompt tokens: median {np.median(lengths):.0f}, most {max(lengths)}")
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        bar = "#" * round(40 * count / widest)
        console.print(f"  {low:7.0f} to {high:7.0f} {count:7d} {bar}")

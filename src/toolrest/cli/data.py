"""`toolrest data`: prepare, check and show data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from toolrest.cli.data_inputs import dropped_kinds, findings_limits, origin_of_rows, read_inputs
from toolrest.cli.errors import one_line_errors
from toolrest.cli.examples import HELP_OPTIONS, example
from toolrest.io.terminal import require_shown, say, say_lost

if TYPE_CHECKING:
    from toolrest.data.sample import Sample

data = typer.Typer(
    name="data",
    help="Prepare, check and show data sets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
    epilog=example("data"),
)
_POLICY = typer.Option(
    help="Whose chat template writes the prompts and whose tokens are counted; neither without it."
)
_LONGEST = typer.Option(min=1, help="Longer prompts are named. Default: the recipe's.")
_AGAINST = typer.Option(help="Files, or 'bfcl', whose questions must not be among the rows.")
_INPUTS = typer.Argument(
    metavar="FILE... | RECIPE [KEY=VALUE]...",
    help="Files of any format or hub names; or a recipe (.yaml) with data.sources; then overrides "
    "such as dialect=hermes.",
    show_default=False,
)


class _Prepare(TyperCommand):
    """A command whose `--drop` without a kind means all of them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        made = []
        for at, text in enumerate(args):
            after = args[at + 1 : at + 2]
            bare = not after or after[0].startswith("-") or "=" in after[0] or _is_data(after[0])
            made.append("--drop=all" if text == "--drop" and bare else text)
        return super().parse_args(ctx, made)


def _is_data(text: str) -> bool:
    return Path(text).suffix != "" or Path(text).exists()


@data.command(cls=_Prepare, epilog=example("prepare"))
def prepare(
    inputs: Annotated[list[str], _INPUTS],
    output: Annotated[Path, typer.Option(help="The .parquet file to write.")],
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Leave out what toolrest data check finds of this kind, such as duplicate; again "
            "for more kinds. Without a kind, or with 'all': of every kind.",
        ),
    ] = None,
    policy: Annotated[str | None, _POLICY] = None,
    max_prompt_tokens: Annotated[int | None, _LONGEST] = None,
    against: Annotated[list[str] | None, _AGAINST] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Write the samples of all sources into one parquet file, with a manifest."""
    with one_line_errors():
        from rich.progress import Progress, TimeElapsedColumn

        from toolrest.data.prepare import Options, manifest_path
        from toolrest.data.prepare import prepare as run_prepare
        from toolrest.errors import printable
        from toolrest.io.console import console, text_column

        recipe, sources, rendering, tokenizer = read_inputs(inputs, policy)
        limits = findings_limits(recipe, rendering, tokenizer, max_prompt_tokens, against)
        kinds = dropped_kinds(drop or [], limits, len(sources))
        made_by = origin_of_rows(recipe, policy, against or [])
        view = console(stderr=True)
        bar = Progress(
            text_column("{task.completed:,.0f} samples"),
            TimeElapsedColumn(),
            console=view,
            disable=quiet or not view.is_terminal,
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
                    Options(kinds, limits, made_by),
                )
        except KeyboardInterrupt:
            say(f"stopped; {output} is as it was, or whole. The same command begins anew", err=True)
            raise typer.Exit(130) from None
        for source in manifest["sources"]:
            say(f"{source['path']}: {source['samples']} samples")
            for reason, count in source["left_out"].items():
                rows = source["left_out_rows"][reason]
                more = ", .." if count > len(rows) else ""
                left = f"left out {count}: {reason} (rows {', '.join(rows)}{more})"
                say(f"  {printable(left)}")
        say(f"{manifest['samples']} samples in {output}; {manifest_path(output)}")
        say_lost(f"{output} is written")


@data.command(epilog=example("check"))
def check(
    inputs: Annotated[list[str], _INPUTS],
    policy: Annotated[str | None, _POLICY] = None,
    max_prompt_tokens: Annotated[int | None, _LONGEST] = None,
    against: Annotated[list[str] | None, _AGAINST] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all findings.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of each kind that are printed.")] = 5,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where anything is found.")
    ] = False,
) -> None:
    """Report what is wrong, by row: parse errors, unlisted tools, parameters, types, duplicates.

    Exit code 0: every row can be read. 1: not all can; or, with --strict, something is found.
    """
    with one_line_errors():
        from toolrest.data.check import UNREADABLE
        from toolrest.data.check import check as run_check

        recipe, sources, rendering, tokenizer = read_inputs(inputs, policy)
        limits = findings_limits(recipe, rendering, tokenizer, max_prompt_tokens, against)
        reports = run_check(sources, rendering, seed=recipe.seed, limits=limits)
        if output is not None:
            from toolrest.io.files import write_json, writing

            with writing(output):
                write_json(output, [report.to_dict() for report in reports])
        from toolrest.cli.data_report import print_report

        for report in reports:
            print_report(report, rows)
        if output is None:
            require_shown()
    if any(report.findings if strict else UNREADABLE in report.findings for report in reports):
        raise typer.Exit(1)


@data.command(epilog=example("show"))
def show(
    inputs: Annotated[list[str], _INPUTS],
    row: Annotated[
        str,
        typer.Option(help="Which row of the file, from 0; 3.1 is the second sample of row 3."),
    ] = "0",
    policy: Annotated[
        str | None, typer.Option(help="Print the prompt as its chat template writes it.")
    ] = None,
) -> None:
    """Print a row's samples as the policy sees them, and their ground truths."""
    with one_line_errors():
        from toolrest.data.pick import pick_row, read_place

        read_place(row)
        recipe, sources, rendering, tokenizer = read_inputs(inputs, policy)
        for place, sample in pick_row(sources, rendering, recipe.seed, row):
            say(f"{place}\n{_sample_text(sample, tokenizer)}\n")
        require_shown()


def _sample_text(sample: "Sample", tokenizer: Any) -> str:
    from toolrest.data.prompts import render_prompt

    if tokenizer is None:
        said = "\n".join(_message(message) for message in sample.prompt)
        if sample.tools is not None:
            said = f"[tools] {_json(list(sample.tools))}\n{said}"
    else:
        ids = render_prompt(sample, tokenizer)
        said = f"{len(ids)} tokens\n\n{tokenizer.decode(ids)}"
    said += f"\n\n[ground truth]\n{sample.ground_truth}"
    if sample.true_names is not None:
        from toolrest.data.masking import unmasked

        said += f"\n\n[with true names]\n{unmasked(sample.ground_truth, sample.true_names)}"
    if sample.demonstration is not None:
        said += f"\n\n[demonstration]\n{sample.demonstration}"
    return said


def _message(message: dict[str, Any]) -> str:
    extra = {k: v for k, v in message.items() if k not in ("role", "content")}
    text = f"[{message['role']}] {message.get('content') or ''}"
    return f"{text} {_json(extra)}" if extra else text


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)

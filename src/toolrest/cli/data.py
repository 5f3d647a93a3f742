"""`toolrest data`: prepare, check and show data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import require_shown, say, say_lost

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.data.decompose import Rendering
    from toolrest.data.sample import Sample
    from toolrest.data.sources import Source
    from toolrest.recipe import Recipe

data = typer.Typer(
    name="data",
    help="Prepare, check and show data sets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
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
        """See click."""
        made = []
        for at, text in enumerate(args):
            after = args[at + 1 : at + 2]
            bare = not after or after[0].startswith("-") or "=" in after[0] or _is_data(after[0])
            made.append("--drop=all" if text == "--drop" and bare else text)
        return super().parse_args(ctx, made)


def _is_data(text: str) -> bool:
    return Path(text).suffix != "" or Path(text).exists()


@data.command(cls=_Prepare)
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

        from toolrest.data.prepare import manifest_path
        from toolrest.data.prepare import prepare as run_prepare
        from toolrest.errors import printable
        from toolrest.io.console import console, text_column

        recipe, sources, rendering, tokenizer = _read(inputs, policy)
        looking = _looking(recipe, rendering, tokenizer, max_prompt_tokens, against)
        kinds = _kinds(drop or [], looking, len(sources))
        made_by = _made_by(recipe, policy, against or [])
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
                    drop=kinds,
                    made_by=made_by,
                    **looking,
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


def _made_by(recipe: "Recipe", policy: str | None, against: list[str]) -> dict[str, Any]:
    """What prepared rows depend on besides their sources and the wording."""
    from toolrest.io.files import sha256_of
    from toolrest.runs.folder import describe_environment
    from toolrest.runs.origins import policy_fingerprint

    scored = describe_environment(recipe.seed)
    questions = {name: Path(name) for name in against}
    return {
        "versions": scored["versions"],
        "commit": scored["commit"],
        "policy": None if policy is None else {policy: policy_fingerprint(recipe)},
        "against": {n: sha256_of(p) if p.is_file() else None for n, p in questions.items()},
    }


@data.command()
def check(
    inputs: Annotated[list[str], _INPUTS],
    policy: Annotated[str | None, _POLICY] = None,
    max_prompt_tokens: Annotated[int | None, _LONGEST] = None,
    against: Annotated[list[str] | None, _AGAINST] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for all findings.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of each kind that are printed.")] = 5,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where something is found.")
    ] = False,
) -> None:
    """Report what is wrong, by row: parse errors, unlisted tools, types, duplicates, overlaps."""
    with one_line_errors():
        from toolrest.data.check import check as run_check

        recipe, sources, rendering, tokenizer = _read(inputs, policy)
        looking = _looking(recipe, rendering, tokenizer, max_prompt_tokens, against)
        reports = run_check(sources, rendering, seed=recipe.seed, **looking)
        if output is not None:
            from toolrest.errors import InputError
            from toolrest.runs.folder import write_json

            try:
                write_json(output, [report.to_dict() for report in reports])
            except OSError as error:
                raise InputError(f"{output}: cannot be written: {error.strerror}") from error
        from toolrest.cli.data_report import print_report

        for report in reports:
            print_report(report, rows)
        if output is None:
            require_shown()
    if strict and any(report.findings for report in reports):
        raise typer.Exit(1)


@data.command()
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
        from toolrest.data.pick import pick_row

        recipe, sources, rendering, tokenizer = _read(inputs, policy)
        for place, sample in pick_row(sources, rendering, recipe.seed, row):
            say(f"{place}\n{_shown(sample, tokenizer)}\n")
        require_shown()


def _shown(sample: "Sample", tokenizer: Any) -> str:
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


def _read(
    inputs: list[str], policy: str | None
) -> "tuple[Recipe, list[Source], Rendering, PreTrainedTokenizerBase | None]":
    """The recipe of the overrides, the sources that it or the arguments name, the wording, and the
    policy's tokenizer where one is named.
    """
    from toolrest.cli.train import calm_libraries
    from toolrest.data.sources import Source
    from toolrest.errors import InputError
    from toolrest.recipe import load_recipe
    from toolrest.recipe.sources import recipe_rendering, recipe_sources

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
    recipe, tokenizer = _fitted(recipe, policy)
    return recipe, sources, recipe_rendering(recipe), tokenizer


def _fitted(
    recipe: "Recipe", policy: str | None
) -> "tuple[Recipe, PreTrainedTokenizerBase | None]":
    """The recipe as training fits it to the policy's chat template; as it is without a policy."""
    from toolrest.core.dialects import AUTO
    from toolrest.errors import InputError
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.recipe import EMBEDDED

    if policy is not None:
        recipe = recipe.model_copy(update={"policy": policy})
    elif recipe.policy == EMBEDDED:
        if recipe.dialect == AUTO:
            raise InputError("dialect=auto is what a policy's chat template writes; give --policy")
        return recipe, None
    try:
        tokenizer = load_tokenizer(recipe)
    except InputError as error:
        if policy is not None or recipe.dialect == AUTO:
            raise
        say(f"the policy's chat template was not looked at: {error}", err=True)
        return recipe, None
    recipe, notes = fit_recipe(recipe, tokenizer)
    for note in notes:
        say(f"note: {note}", err=True)
    return recipe, tokenizer if policy is not None else None


def _looking(
    recipe: "Recipe",
    rendering: "Rendering",
    tokenizer: Any,
    max_prompt_tokens: int | None,
    against: list[str] | None,
) -> dict[str, Any]:
    """What findings need, as `check` and `prepare` take it."""
    from toolrest.data.prompts import render_prompt
    from toolrest.policy.sizing import is_sized
    from toolrest.recipe import says

    longest = max_prompt_tokens
    # training takes a limit from the data where the recipe says none
    if longest is None and (says(recipe, "data.max_prompt_tokens") or not is_sized(recipe)):
        longest = recipe.data.max_prompt_tokens
    return {
        "length": None if tokenizer is None else lambda s: len(render_prompt(s, tokenizer)),
        "max_prompt_tokens": longest,
        "against": _questions(against or [], rendering, recipe.seed),
    }


def _kinds(drop: list[str], looking: dict[str, Any], sources: int) -> list[str]:
    """The kinds of findings that `--drop` names, all of which the options let us look for."""
    from toolrest.data.findings import KINDS, REFUSED
    from toolrest.errors import InputError, unknown_name

    needs = {}
    if looking["length"] is None:
        needs |= dict.fromkeys((REFUSED, "too long"), "--policy")
    elif looking["max_prompt_tokens"] is None:
        needs |= {"too long": "--max-prompt-tokens"}
    if looking["against"] is None and sources < 2:
        needs["overlap"] = "--against, or several sources"
    asked = [kind.replace("-", " ") for text in drop for kind in text.split(",")]
    if "all" in asked:
        for kind, need in needs.items():
            say(f"not looked for: {kind}, which needs {need}", err=True)
        return [kind for kind in KINDS if kind not in needs]
    for kind in asked:
        if kind not in KINDS:
            raise InputError(f"--drop: {unknown_name('kind', kind, ('all', *KINDS))}")
        if kind in needs:
            raise InputError(f"--drop {kind!r} needs {needs[kind]}")
    return asked


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

"""`toolrest inspect`: a response, token by token."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import require_shown, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from toolrest.report.conversation import Conversation
    from toolrest.report.inspection import Inspection, Token

_COLUMNS = 104
"""Of a picture."""


def inspect(
    source: Annotated[
        Path | None,
        typer.Argument(help="A run's folder, a rollouts file (.jsonl), or a file with a response."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The response itself.")] = None,
    step: Annotated[int | None, typer.Option(help="Of a run. Default: its last.")] = None,
    row: Annotated[int, typer.Option(help="Which response of the step or file, from 0.")] = 0,
    policy: Annotated[
        str | None, typer.Option(help="Tokenizer. Default: the run's, else the embedded one.")
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option(help="File with the prompt; the policy then gives entropies.")
    ] = None,
    truth: Annotated[str | None, typer.Option(help="The ground truth, for the reward.")] = None,
    dialect: Annotated[str | None, typer.Option(help="How it is written. Default: rlla.")] = None,
    scheme: Annotated[
        str | None, typer.Option(help="Weighting. Default: the run's, or rest.")
    ] = None,
    entropy: Annotated[
        list[str] | None,
        typer.Option(help="REGION=NATS, as in reasoning=0.8; default: the run's, or measured."),
    ] = None,
    progress: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the curriculum. Default: the step's.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the policy.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the same as a page.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the same as a picture (SVG).")] = None,
) -> None:
    """Show a response coloured by region, with the weight under each token; an episode as a
    conversation; of a run that is supervised alone the loss."""
    with one_line_errors():
        from toolrest.cli.work import quiet_libraries
        from toolrest.io.console import console
        from toolrest.report.conversation import Conversation
        from toolrest.report.inspect import Subject, look

        quiet_libraries()
        learnt = _supervised(source) if source is not None else []
        subject = Subject(
            source=source,
            text=text,
            step=step,
            row=row,
            policy=policy,
            prompt=prompt,
            truth=truth,
            dialect=dialect,
            scheme=scheme,
            entropy=tuple(entropy or ()),
            progress=progress,
            trust_remote_code=trust_remote_code,
        )
        alone = subject == Subject(source, trust_remote_code=trust_remote_code)
        unsampled = source is not None and not any((source / "rollouts").glob("step-*.jsonl"))
        if learnt and unsampled and alone and html is None and svg is None:
            say("\n".join(learnt))
            return
        found = look(subject)
        if found.note is not None:
            say(found.note)
        if html is not None:
            from toolrest.report.inspection_page import conversation_page, inspection_page
            from toolrest.report.page import write_page

            of_episode = isinstance(found, Conversation)
            write_page(html, conversation_page(found) if of_episode else inspection_page(found))
        _print(found, console())
        if svg is not None:
            _write_picture(svg, found, _title(source, step, row))
        if learnt:
            say("\n".join(learnt))
        if html is not None:
            say(f"page         {html}")
        if svg is not None:
            say(f"picture      {svg}")
        if html is None and svg is None:
            require_shown()


def _supervised(source: Path) -> list[str]:
    """What a run's folder tells of its supervised steps."""
    from toolrest.report.supervised import describe_supervised
    from toolrest.runs.folder import RunFolder

    run = RunFolder(source)
    return describe_supervised(run) if run.recipe.is_file() else []


def _title(source: Path | None, step: int | None, row: int) -> str:
    shown = "a response" if source is None else str(source)
    return f"{shown}{'' if step is None else f', step {step}'}, row {row}"


def _write_picture(path: Path, found: "Inspection | Conversation", title: str) -> None:
    from toolrest.io.console import as_svg, recording_console
    from toolrest.report.page import write_page

    picture = recording_console(_COLUMNS)
    _print(found, picture)
    write_page(path, as_svg(picture, title))


def _regions(tokens: "Sequence[Token]") -> "Table":
    """How many tokens each region has, and what of the weight."""
    from toolrest.core.regions import Region
    from toolrest.io.console import table

    shares = table(("region", "tokens", "weight", "share of weight"), left=("region",))
    total = sum(token.weight for token in tokens) or 1.0
    for region in Region:
        weights = [token.weight for token in tokens if token.region == region]
        if weights:
            shares.add_row(
                region.name.lower(),
                str(len(weights)),
                f"{sum(weights) / len(weights):.2f}",
                f"{sum(weights) / total:.0%}",
            )
    return shares


def _print(found: "Inspection | Conversation", console: Any) -> None:
    from toolrest.report.conversation import Conversation

    if isinstance(found, Conversation):
        from toolrest.report.conversation_lines import print_conversation

        print_conversation(found, console)
        if found.tokens:
            console.print(_regions(found.tokens))
        return
    from toolrest.report.shading import legend, token_lines, visible

    measured = any(token.entropy is not None for token in found.tokens)
    console.print(legend())
    console.print("token / weight" + (" / entropy, nats" if measured else ""), style="dim")
    for line in token_lines(found.tokens, console.width, measured):
        console.print(line)
    console.print(_regions(found.tokens))
    reply = found.reply
    console.print(
        f"parse status {found.status}" + ("" if reply.position is None else f" at {reply.position}")
    )
    for call in reply.calls:
        console.print_line(f"call         {visible(call.name)} {visible(repr(call.parameters))}")
    if found.reward is not None:
        reward = found.reward
        console.print(
            f"reward       {reward.total:.2f} = format {reward.format_reward:.2f} + correctness "
            f"{reward.correctness_reward:.2f}; exact match: {'yes' if reward.exact else 'no'}"
        )
        if found.trained is not None:
            console.print_line(
                f"             with constant ranges, by which steps compare; training counted "
                f"{found.trained}"
            )

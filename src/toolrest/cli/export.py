"""`toolrest export`: a run's policy as a folder that others load."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import say


def export(
    run: Annotated[str, typer.Argument(help="The run's folder.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write, new or empty.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint after so many steps, or 'best', by evaluation.metric on the way. "
            "Default: the last."
        ),
    ] = None,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="The policy after supervised learning instead.")
    ] = False,
    adapter: Annotated[
        bool,
        typer.Option(
            "--adapter/--merged",
            help="Low-rank adapters as they are, or merged into their base: a whole policy.",
        ),
    ] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(help="Of the weights of a whole policy; float32: as trained."),
    ] = "float32",
    push: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Upload the folder to the hub too, by your own token."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: a new repository is private.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the policy.")
    ] = False,
) -> None:
    """Take a run's policy out: safetensors, tokenizer, chat template and a model card."""
    with one_line_errors():
        from toolrest.errors import InputError
        from toolrest.io.folders import check_new_folder

        if private and push is None:
            raise InputError("--private goes with --push")
        if adapter and dtype != "float32":
            raise InputError(f"--dtype {dtype} is of a whole policy; adapters are copied")
        check_new_folder(to, "--to")
        from toolrest.cli.work import quiet_libraries
        from toolrest.export.find import find_policy
        from toolrest.export.hub import check_hub
        from toolrest.export.hub import push as upload
        from toolrest.export.write import export_policy

        quiet_libraries()
        wanted = None if checkpoint is None else _step(checkpoint)
        taken = find_policy(run, wanted, warm_start=warm_start, trusted=trust_remote_code)
        if push is not None:
            check_hub(push)
        export_policy(taken, to, adapter=adapter, dtype=dtype, repository=push)
        say(f"policy       {to}")
        say(f"model card   {to / 'README.md'}")
        if push is not None:
            say(f"on the hub   {upload(to, push, private=private)}")


def _step(written: str) -> int | Literal["best"]:
    """What --checkpoint names.

    Raises:
        InputError: neither a number of steps nor `best`.
    """
    from toolrest.errors import InputError, short

    if written == "best":
        return "best"
    if not written.isdecimal():
        raise InputError(f"--checkpoint {short(written)}: a number of steps, or best")
    return int(written)

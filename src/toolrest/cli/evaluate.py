"""`toolrest evaluate`: a policy on BFCL, API-Bank, the embedded world or its environment."""

import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import say, say_lost

_INTERRUPTED = 130


def evaluate(
    policy: Annotated[
        str | None,
        typer.Argument(
            help="A run's folder, a checkpoint's, 'embedded', a hub name, or with --backend openai "
            "the model's name at the endpoint."
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="bfcl, apibank, world, or environment, the run's own. Default: environment of a "
            "run that has one, else world.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Held-out episodes of the environment. Default: as its run has."),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Times that each is sampled, for pass^k: done in all of k. Default: 1."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Of BFCL: v3 or v4, by the bfcl-eval that is installed.")
    ] = None,
    categories: Annotated[
        str | None, typer.Option(help="Names or groups (non_live, live, multi_turn), with commas.")
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(help="How the policy writes calls. Default: its run's, or seen.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Wording of BFCL's prompts: rlla, template or plain.")
    ] = None,
    think: Annotated[
        bool | None,
        typer.Option(help="Whether a plain prompt asks for a thought. Default: as the run's did."),
    ] = None,
    template_option: Annotated[
        list[str] | None,
        typer.Option(help="What the chat template is told, as in enable_thinking=false."),
    ] = None,
    backend: Annotated[Literal["hf", "vllm", "openai"], typer.Option(help="What answers.")] = "hf",
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(help="Of hf and vllm. Default: bfloat16 on a GPU that has it, else float32."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible endpoint. Key: OPENAI_API_KEY.")
    ] = None,
    api: Annotated[
        Literal["chat", "completions"], typer.Option(help="Which interface of the endpoint.")
    ] = "chat",
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub name, for --api completions.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Of a run: last, best or a step.")] = "last",
    limit: Annotated[int | None, typer.Option(help="Items of each category at most.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with API-Bank's files.")] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts at once, or requests in flight.")] = 16,
    max_tokens: Annotated[int | None, typer.Option(help="New tokens of an answer.")] = None,
    max_prompt_tokens: Annotated[
        int | None, typer.Option(help="Longer prompts are not asked and count as wrong.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for answers and results.")] = None,
    result_files: Annotated[
        bool, typer.Option("--result-files", help="Write BFCL's own result files too.")
    ] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Compare two evaluations' folders instead, item by item."),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with a checkpoint.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result alone.")] = False,
) -> None:
    """Evaluate a policy with the prompt it was trained with; a stopped evaluation goes on."""
    with one_line_errors():
        from toolrest.errors import InputError
        from toolrest.io.console import console

        if compare is not None:
            if policy is not None:
                raise InputError("--compare takes two folders of evaluations and no policy")
            from toolrest.evaluate.results import compare as compare_results
            from toolrest.evaluate.results import differing
            from toolrest.report.evaluation import print_comparison

            print_comparison(compare_results(*compare), differing(*compare), console())
            return
        if policy is None:
            raise InputError(
                "name a policy: a run's folder, a checkpoint's, 'embedded' or a hub name"
            )
        from toolrest.cli.work import quiet_libraries
        from toolrest.errors import file_name
        from toolrest.evaluate.evaluation import evaluate as run_evaluation
        from toolrest.evaluate.options import Options
        from toolrest.evaluate.target import Target, find_target
        from toolrest.io.redaction import redacted_command
        from toolrest.recipe import Recipe
        from toolrest.report.evaluation import EvaluationView, print_episodes, print_evaluation

        quiet_libraries()
        if backend == "openai" and checkpoint != "last":
            raise InputError(
                f"--checkpoint {checkpoint}: with --backend openai the policy is the server's; "
                "leave it out"
            )
        target = (
            Target(Recipe(policy=policy), file_name(policy))
            if backend == "openai"
            else find_target(policy, checkpoint, trust_remote_code)
        )
        acts = target.run is not None and target.recipe.environment.source is not None
        options = Options(
            benchmark=on or ("environment" if acts else "world"),
            samples=samples,
            trials=trials,
            version=version,
            categories=[name.strip() for name in (categories or "").split(",") if name.strip()],
            dialect=dialect,
            prompt=prompt,
            think=think,
            template_options=_told(template_option or []),
            backend=backend,
            dtype=dtype,
            base_url=base_url,
            api_key=os.environ.get("OPENAI_API_KEY"),
            api=api,
            tokenizer=tokenizer,
            limit=limit,
            out=out,
            data=data,
            batch_size=batch_size,
            max_tokens=max_tokens,
            max_prompt_tokens=max_prompt_tokens,
            result_files=result_files,
        )
        of_episodes = options.benchmark == "environment"
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            with EvaluationView(quiet) as view:
                found = run_evaluation(target, options, view)
        except KeyboardInterrupt:
            again = shlex.join(redacted_command(["toolrest", *sys.argv[1:]]))
            kept = (
                "episodes are not kept. Begin" if of_episodes else "answers so far are kept. Go on"
            )
            say(f"stopped; {kept} with: {again}", err=True)
            if threading.active_count() > 1:
                os._exit(_INTERRUPTED)  # requests that a second Ctrl-C has left would be waited for
            raise typer.Exit(_INTERRUPTED) from None
        if of_episodes:
            print_episodes(found, console())
        else:
            print_evaluation(found, console())
        say_lost(f"the results are in {found.folder}")


def _told(written: list[str]) -> dict[str, Any]:
    """Template options from KEY=VALUE, checked as a recipe's are."""
    from toolrest.recipe import load_recipe

    recipe = load_recipe(None, [f"data.template_options.{text}" for text in written])
    return recipe.data.template_options

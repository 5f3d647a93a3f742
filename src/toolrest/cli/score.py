"""`toolrest score`: rewards of responses that lie in a file."""

from pathlib import Path
from typing import Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.errors import printable
from toolrest.io.terminal import require_shown

_UNNAMED = "without decoding"
"""Rows that do not say how they were sampled, beside others that do."""


def score(
    rollouts: Annotated[
        Path,
        typer.Argument(
            help="JSONL with `response` and `ground_truth` in every row, and where they are known "
            "`opening` (what the prompt has written of the reply) and `tools`."
        ),
    ],
    reward: Annotated[
        list[str] | None,
        typer.Option(
            help="partial, exact, ast, or KIND=WEIGHT for each of several; partial if none."
        ),
    ] = None,
    dialect: Annotated[str, typer.Option(help="How both are written.")] = "rlla",
    schedule: Annotated[str, typer.Option(help="Ranges of the rewards, at a run's start.")] = (
        "constant"
    ),
    punish_over_calls: Annotated[
        bool, typer.Option(help="Whether calls where none is due earn the least.")
    ] = True,
    normalise_strings: Annotated[
        bool, typer.Option("--normalise-strings", help="Compare strings as BFCL does.")
    ] = False,
    lenient_types: Annotated[
        bool, typer.Option("--lenient-types", help='Let "5" equal 5.')
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="JSONL that receives every row's breakdown.")
    ] = None,
) -> None:
    """Score responses against ground truths."""
    with one_line_errors():
        from toolrest.core.rewards.correctness import parse_weights

        _check_file(rollouts)
        weights = parse_weights(reward or ["partial"])
        from toolrest.engines.common.reward import ToolReward
        from toolrest.evaluate.score_file import has_rewards_of_training, score_file

        tool_reward = ToolReward(
            dialect,
            schedule,
            correctness=weights,
            punish_over_calls=punish_over_calls,
            normalise_strings=normalise_strings,
            lenient_types=lenient_types,
        )
        summary = score_file(rollouts, tool_reward, output)
        from toolrest.io.console import console, table
        from toolrest.io.files import sha256_of
        from toolrest.runs.environment import describe_environment

        made = describe_environment(0)
        commit = f" ({made['commit']})" if made["commit"] else ""
        by = f"toolrest {made['versions']['toolrest']}{commit}"
        told = {
            "dialect": dialect,
            "schedule": schedule,
            "rewards": ",".join(reward or ["partial"]),
        }
        told |= {"punish_over_calls": punish_over_calls, "normalise_strings": normalise_strings}
        told |= {"lenient_types": lenient_types}
        view = console()
        counts = {name: own.pop("n") for name, own in summary.items()}
        alone = list(counts) == [""]
        said = ", ".join(
            f"{n:.0f}" if alone else f"{n:.0f} {name or _UNNAMED}" for name, n in counts.items()
        )
        view.print_line(f"{rollouts}, n = {said}")
        named = ["mean"] if alone else [printable(name) or _UNNAMED for name in counts]
        means = table(["", *named])
        for name in next(iter(summary.values())):
            means.add_row(name, *(f"{own[name]:.4f}" for own in summary.values()))
        view.print(means)
        settings = ", ".join(f"{name} {value}" for name, value in told.items())
        view.print_line(f"scored by    {by}: {settings}")
        if has_rewards_of_training(rollouts):
            said = "the rewards in the file are those of training, by its own schedule at each step"
            view.print_line(f"not those    {said}")
        view.print_line(f"of sha256    {sha256_of(rollouts)}")
        if output is not None:
            view.print_line(f"every row    {output}")
        else:
            require_shown()


def _check_file(path: Path) -> None:
    """Refuse a folder, naming the files of a run's that can be scored, and what is not there."""
    from toolrest.errors import InputError

    if path.is_dir():
        found = sorted(path.glob("evaluation/*.jsonl")) + sorted(path.glob("rollouts/*.jsonl"))
        kept = path / "recipe.yaml"
        if kept.is_file():
            from toolrest.recipe import load_run_recipe

            recipe = load_run_recipe(kept, [], trusted=False)
            source = recipe.environment.source
            if recipe.acts:
                raise InputError(
                    f"{path}: a run in environment.source={source}, which itself gives the "
                    "rewards; score is of single responses with ground truths"
                )
            if source is not None:  # trained on single steps, evaluated in whole episodes
                found = sorted(path.glob("rollouts/*.jsonl"))
        name = found[0] if found else path / "evaluation/after.jsonl"
        raise InputError(f"{path}: a folder; name a file of responses, such as {name}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")

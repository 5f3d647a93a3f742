"""`toolrest evaluate` of a run in its own environment: held-out episodes, sampled and greedy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.data.sample import Sample
from toolrest.engines.common.episode_rows import WORLD, episode_samples
from toolrest.engines.common.episodes import Episodes, episode_record, recipe_options
from toolrest.environments.source import check_source
from toolrest.errors import InputError
from toolrest.evaluate.episode import Outcome
from toolrest.evaluate.heldout_episodes import Playing, play_heldout
from toolrest.evaluate.options import Options
from toolrest.evaluate.precision import chosen_dtype
from toolrest.evaluate.results import write_results
from toolrest.evaluate.trials import done, pass_powers, scored, task_figures
from toolrest.io.files import write_json, write_whole
from toolrest.io.objects import object_or_none
from toolrest.policy.speech import read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_generation_config, load_policy
from toolrest.recipe import Recipe
from toolrest.rollout.sampler import recipe_draw
from toolrest.rollout.turns import Trajectory
from toolrest.runs.environment import describe_environment
from toolrest.runs.origins import file_origins, policy_fingerprint
from toolrest.runs.reproducibility import device, record_environment

EPISODES = "episodes.jsonl"
_APART = 1_000_003
"""Between the seeds of two trials, whose turns have the numbers after them."""


def episode_settings(recipe: Recipe, options: Options, count: int) -> dict[str, Any]:
    """The content of settings.json: all that the episodes depend on."""
    asked = recipe.environment
    origins = file_origins(recipe).items()
    files = {name: value for name, value in origins if name.startswith(("data ", "environment "))}
    seed = 0 if asked.source == WORLD else recipe.seed
    return {
        "policy": recipe.policy,
        "weights": policy_fingerprint(recipe),
        "benchmark": "environment",
        "version": None,
        "data": {"source": asked.source, "seed": seed, **files},
        "dialect": recipe.dialect,
        "prompt": recipe_options(recipe).style,
        "environment": asked.model_dump(mode="json"),
        "max_tokens": recipe.rollout.max_response_tokens,
        "temperature": recipe.rollout.temperature,
        **({} if recipe_draw(recipe).of_all else {"draw": asdict(recipe_draw(recipe))}),
        "seed": recipe.seed,
        "samples": count,
        "trials": options.trials or 1,
        "backend": "hf",
        "dtype": chosen_dtype(options.dtype),
        "batch_size": options.batch_size,
        "device": device(),
    }


def check_environment(recipe: Recipe) -> None:
    """Refuse a policy that has no environment, or one whose code nobody vouched for.

    Raises:
        InputError: saying what to do.
    """
    source = recipe.environment.source
    if source is None:
        raise InputError(
            "--on environment: is of a run whose recipe has environment.source; take --on world, "
            "bfcl or apibank"
        )
    if check_source(source).kind == "file" and not recipe.trust_remote_code:
        raise InputError(
            f"environment.source={source} of the run's recipe runs code; read it, and if you trust "
            "it, give --trust-remote-code"
        )


def heldout_rows(recipe: Recipe, count: int | None) -> list[Sample]:
    """The rows that a run holds out of its environment's.

    Args:
        count: how many; None: as many as the run was evaluated on.

    Raises:
        InputError: there are not so many, or none.
    """
    given = recipe.sources
    if given and not recipe.evaluation.samples:
        raise InputError("evaluation.samples=0: the run has held out no rows of its data")
    wanted = recipe.evaluation.samples if count is None else count
    if not wanted:
        raise InputError("evaluation.samples=0 in the run's recipe: say how many by --samples")
    evaluation = recipe.evaluation.model_copy(update={"samples": wanted})
    rows = episode_samples(recipe.model_copy(update={"evaluation": evaluation})).heldout
    if count is not None and len(rows) < count:
        raise InputError(f"--samples {count}: the run has held out {len(rows)} rows of its data")
    return rows[:wanted]


def prepare_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Make an evaluation's folder.

    Raises:
        InputError: it holds an evaluation with other settings.
    """
    path = folder / "settings.json"
    before = object_or_none(path)
    if before is not None and before != settings:
        changed = sorted(
            key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key)
        )
        raise InputError(
            f"{folder}: holds an evaluation with other settings ({', '.join(changed)}); choose "
            "another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)
    (folder / "environment.json").unlink(missing_ok=True)  # nothing of an earlier one is kept
    record_environment(folder / "environment.json", 0, 1)


def play(
    recipe: Recipe, settings: dict[str, Any], rows: Sequence[Sample], folder: Path, on_played: Any
) -> tuple[list[list[Trajectory]], list[list[Trajectory]]]:
    """The sampled trials of each row, and its greedy one.

    Args:
        on_played: called with the number of episodes so far.

    Raises:
        InputError: the policy or the environment cannot be used, or every episode failed.
    """
    tokenizer = load_tokenizer(recipe)
    model = load_policy(recipe, dtype=settings["dtype"]).eval()
    dialect, own = get_dialect(recipe.dialect), load_generation_config(recipe)
    speech, log = read_speech(tokenizer, dialect, own), folder / "environment.log"
    found: list[list[Trajectory]] = []
    with Episodes(recipe_options(recipe), tokenizer, speech, log) as episodes:
        for number in range(settings["trials"] + 1):
            greedy = number == settings["trials"]
            how = Playing(
                None if greedy else recipe_draw(recipe),
                recipe.seed + number * _APART,
                settings["batch_size"],
            )
            before = number * len(rows)
            found.append(
                play_heldout(
                    model,
                    tokenizer,
                    recipe,
                    episodes,
                    rows,
                    how,
                    lambda done, before=before: on_played(before + done),
                )
            )
    *sampled, greedily = found
    tasks = [list(trials) for trials in zip(*sampled, strict=True)]
    failures = [each.failure for trial in found for each in trial if each.failure is not None]
    if not any(map(scored, tasks)) or not scored(greedily):
        raise InputError(f"the environment failed in every episode: {failures[0]}")
    return tasks, [[each] for each in greedily]


def summarise_episodes(
    settings: dict[str, Any], tasks: list[list[Trajectory]], greedy: list[list[Trajectory]]
) -> dict[str, Any]:
    """The content of result.json."""
    made = describe_environment(0)
    everyone = [each for trials in (*tasks, *greedy) for each in trials]
    return {
        "settings": settings,
        "asked": {"samples": settings["samples"], "trials": settings["trials"]},
        "scored_by": {"versions": made["versions"], "commit": made["commit"]},
        "categories": {"sampled": task_figures(tasks), "greedy": task_figures(greedy)},
        "pass^k": pass_powers(tasks),
        "failed": sum(each.failure is not None for each in everyone),
    }


def write_episodes(
    folder: Path,
    result: dict[str, Any],
    rows: Sequence[Sample],
    tasks: list[list[Trajectory]],
    greedy: list[list[Trajectory]],
) -> list[Outcome]:
    """Write every episode, and the files that every evaluation has. There a task's first trial
    stands for it: trials of one task are not items of their own in a comparison.
    """
    lines, outcomes = [], []
    for decoding, found in (("sampled", tasks), ("greedy", greedy)):
        for row, trials in zip(rows, found, strict=True):
            for number, each in enumerate(trials):
                told = {"identity": row.identity, "decoding": decoding, "trial": number}
                lines.append(json.dumps(told | episode_record(each), ensure_ascii=False) + "\n")
            if known := scored(trials):
                outcomes.append(_outcome(row, decoding, known[0]))
    write_whole(folder / EPISODES, "".join(lines))
    write_results(folder, result, outcomes)
    return outcomes


def _outcome(row: Sample, decoding: str, trajectory: Trajectory) -> Outcome:
    right = done(trajectory)
    return Outcome(
        identity=f"{row.identity} {decoding}",
        category=decoding,
        correct=right,
        check="" if right else str(trajectory.ending),
        expected="",
        got=episode_record(trajectory),
        statuses=(str(trajectory.ending),),
        tokens=(sum(trajectory.sampled),),
        scores={"reward": trajectory.reward or 0.0, "turns": float(len(trajectory.turns))},
    )

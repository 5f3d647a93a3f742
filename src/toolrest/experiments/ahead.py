"""How long a comparison will take, said before it begins."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from toolrest.errors import InputError
from toolrest.estimate.duration import spoken
from toolrest.experiments.cells import THREADS, die_with
from toolrest.experiments.methods import apply_method
from toolrest.experiments.plan import CompareFolder, Plan
from toolrest.io.files import iterate_lines, read_json, write_whole
from toolrest.io.foreign import is_number, parse_object
from toolrest.io.redaction import redacted
from toolrest.recipe import Recipe, changed, dump_recipe
from toolrest.runs.folder import RunFolder

_TIMED = "timed-"
"""How the folder begins in which a generation is timed."""


def say_ahead(folder: CompareFolder, plan: Plan, jobs: int, say: Callable[[str], object]) -> None:
    """Say how many runs are left, and about how long they take.

    A run's time is the mean of those that are finished; where none is, of one generation that is
    trained for it now, in a folder of its own that goes again.

    Raises:
        InputError: that generation could not be trained.
    """
    cells = plan.cells()
    times = [_seconds(folder.run(*cell)) for cell in cells]
    known = [time for time in times if time is not None]
    left = len(times) - len(known)
    if not left:
        return
    at_once = min(jobs, left)
    if known:
        each, how = sum(known) / len(known), f"the mean of the {len(known)} that are finished"
    else:
        say(f"{left} runs; one generation is timed first")
        recipe = apply_method(plan.recipe, plan.methods[0])
        each, how = _timed(folder, recipe, plan.threads, at_once), "reckoned from one generation"
    whole = each * math.ceil(left / at_once)
    early = "; those that collapse end earlier" if plan.grid is not None else ""
    say(
        f"{left} runs of about {spoken(each)} ({how}), {at_once} at once: about {spoken(whole)} in "
        f"all{early}"
    )


def _seconds(run: RunFolder) -> float | None:
    """The time of a finished run; None: it is not finished, or does not tell."""
    try:
        found = read_json(run.summary)["seconds"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return float(found) if is_number(found) else None


def _timed(folder: CompareFolder, recipe: Recipe, threads: int, at_once: int) -> float:
    """Seconds of a run, from as many runs of one generation as will be at once."""
    steps = recipe.steps_per_generation
    alone = {"evaluation.every": 0, "evaluation.save_best": False, "evaluation.metric": None}
    once = {"max_steps": steps, "save_steps": steps, "max_epochs": None}
    tried = changed(recipe, alone | {"collapse.end": False}).model_copy(update=once)
    for left in folder.path.glob(f"{_TIMED}*"):  # by one that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_TIMED, dir=folder.path) as place:
        write_whole(Path(place, "recipe.yaml"), dump_recipe(tried))
        command = [sys.executable, "-c", "from toolrest.cli.main import main; main()", "train"]
        own = os.environ | {name: str(threads) for name in THREADS}
        logs = [Path(place, f"{number}.log") for number in range(at_once)]
        processes = []
        try:
            for number, log in enumerate(logs):
                with log.open("wb") as out:
                    words = ["recipe.yaml", f"name=tried{number}", "--quiet"]
                    processes.append(
                        subprocess.Popen(
                            [*command, *words],
                            cwd=place,
                            env=own,
                            stdin=subprocess.DEVNULL,
                            stdout=out,
                            stderr=subprocess.STDOUT,
                            preexec_fn=partial(die_with, os.getpid()),
                        )
                    )
            for process in processes:
                process.wait()
        finally:
            for process in processes:
                process.kill()
                process.wait()
        run = RunFolder(Path(place, "runs", "tried0"))
        whole = _seconds(run)
        if whole is None:
            said = [line for line in iterate_lines(logs[0]) if line.strip()]
            raise InputError(
                "one generation, which was to tell how long the comparison takes, failed: "
                f"{redacted(said[-1]) if said else 'it printed nothing'}"
            )
        rows = [parse_object(line) for line in iterate_lines(run.metrics)]
    generation = float(rows[-1]["seconds"])
    generations = math.ceil(recipe.max_steps / steps)
    every = recipe.evaluation.every
    timed = 1 + recipe.evaluation.before
    evaluations = timed + ((recipe.max_steps - 1) // every if every else 0)
    return generation * generations + (whole - generation) * evaluations / timed

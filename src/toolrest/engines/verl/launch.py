"""A recipe run by verl, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolrest.engines.common.job import OnStep
from toolrest.engines.common.signals import stopped_by_signals
from toolrest.engines.verl.checkpoints import newest_step, step_folder
from toolrest.engines.verl.environment import missing_for_launch
from toolrest.engines.verl.hydra import shell_command
from toolrest.engines.verl.names import STATE_FILE
from toolrest.engines.verl.overrides import DATA_SOURCE, VerlPaths, verl_command, verl_steps
from toolrest.engines.verl.weights import SIGNAL, SPREAD
from toolrest.errors import InputError
from toolrest.io.files import iterate_lines, only_one, open_regular, open_to_add
from toolrest.io.redaction import redacted
from toolrest.recipe import Recipe

_OURS = (SIGNAL, SPREAD, "share/format", "signal/format")
"""Metrics without which a step was not trained with the weights."""
_RENAMED = {
    "grad_norm": "actor/grad_norm",
    "loss": "actor/loss",
    "entropy": "actor/entropy",
    "completions/mean_length": "response_length/mean",
}
"""The names of the TRL engine's metrics by verl's, so that runs can be compared."""
_VALIDATION = {
    "greedy_reward": f"val-core/{DATA_SOURCE}/reward/mean@1",
    "greedy_exact_match": f"val-aux/{DATA_SOURCE}/exact_match/mean@1",
}
_VALIDATION_OF_EPISODES = {
    "greedy_reward": f"val-aux/{DATA_SOURCE}/episode_reward/mean@1",
    "greedy_exact_match": f"val-aux/{DATA_SOURCE}/exact_match/mean@1",
    "greedy_turns": f"val-aux/{DATA_SOURCE}/turns/mean@1",
}
"""The same of episodes; those in which the environment failed have none of them."""
_FAILED = f"val-aux/{DATA_SOURCE}/failed/mean@1"
_PATIENCE = 60.0
"""Seconds that verl has to end after Ctrl-C."""


def check_machine() -> None:
    """Refuse to start where verl cannot run.

    Raises:
        InputError: naming what is missing and the mend.
    """
    check = missing_for_launch()
    if check is not None:
        raise InputError(
            f"engine=verl: {check.name} {check.found}, needed: {check.needed}; {check.mend}"
        )


def last_step(checkpoints: Path) -> int:
    """verl's step that a run goes on from; 0: from the beginning."""
    step = newest_step(checkpoints)
    newest = step_folder(checkpoints, step)
    if step and not (newest / STATE_FILE).is_file():
        raise InputError(
            f"{newest} has no {STATE_FILE}; it was not written by this "
            "engine, and cannot be resumed"
        )
    return step


def train_with_verl(
    recipe: Recipe,
    name: str,
    paths: VerlPaths,
    record: OnStep,
    evaluated: OnStep,
) -> int:
    """Start verl and follow it to its end. It holds `paths.lock`, should this process be killed.

    Ctrl-C or SIGTERM is handed on; a second one ends verl at once. What it has saved stays.

    Args:
        record: called with optimiser step and metrics of each generation.
        evaluated: called with optimiser step and results of each evaluation.

    Returns:
        The optimiser steps done; fewer than the recipe's if it was interrupted.

    Raises:
        InputError: verl failed, or trained a step without the weights; with the log's path.
    """
    environment, arguments = verl_command(recipe, name, paths, sys.executable)
    paths.scratch.mkdir(parents=True, exist_ok=True)
    (paths.scratch / "command.sh").write_text(
        shell_command(environment, arguments) + "\n", encoding="utf-8"
    )
    log = paths.scratch / "log.txt"
    each, seen = recipe.steps_per_generation, last_step(paths.checkpoints)
    started = time.monotonic()
    with (
        open_to_add(log) as sink,
        only_one(paths.lock, f"{paths.lock}: another verl is at work there") as held,
        stopped_by_signals(_interrupt),
    ):
        process = subprocess.Popen(
            arguments,
            env={**os.environ, **environment},
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(held,),
        )
        try:
            for step, logged in _follow(paths.metrics, process):
                # The file logger writes null for what is no number.
                data = {key: value for key, value in logged.items() if value is not None}
                found = _evaluation(data, acts=recipe.environment.source is not None)
                if found:
                    evaluated(step * each, found)
                if "training/global_step" not in data:
                    continue
                _check_metrics(data, step, log)
                for key, source in _RENAMED.items():
                    if source in data:
                        data[key] = data[source]
                seen = step
                record(step * each, {"seconds": time.monotonic() - started, **data})
        except KeyboardInterrupt:
            _end(process, signal.SIGINT)
            return seen * each
        except BaseException:
            _end(process, signal.SIGTERM)
            raise
    if process.returncode != 0:
        raise InputError(
            f"verl ended with {process.returncode}: {_last_error(log)} (its output: {log})"
        )
    if seen < verl_steps(recipe):
        raise InputError(
            f"verl ended after {seen} of {verl_steps(recipe)} steps without an error; its output: "
            f"{log}"
        )
    return seen * each


def _evaluation(data: dict[str, Any], *, acts: bool) -> dict[str, Any]:
    """The results of an evaluation by our names; nothing where there was none. `failed` is a share.

    Args:
        acts: whether episodes were evaluated.
    """
    names = _VALIDATION_OF_EPISODES if acts else _VALIDATION
    found = {key: data[source] for key, source in names.items() if source in data}
    if acts and _FAILED in data:
        found["failed"] = data[_FAILED]
    return found


def _interrupt() -> None:
    raise KeyboardInterrupt


def _follow(
    metrics: Path, process: subprocess.Popen[bytes], pause: float = 0.5
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(verl's step, metrics) of each whole line that verl's file logger writes, to its end."""
    position = 0
    while True:
        running = process.poll() is None
        if metrics.is_file():
            with open_regular(metrics) as file:
                file.seek(position)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    position += len(line)
                    record = json.loads(line)
                    yield record["step"], record["data"]
        if not running:
            return
        time.sleep(pause)


def _check_metrics(data: dict[str, Any], step: int, log: Path) -> None:
    """Every step must show that its weights reached the loss.

    Raises:
        InputError: it does not.
    """
    missing = [name for name in _OURS if name not in data]
    if missing:
        raise InputError(
            f"verl's step {step} has no metric {missing[0]}: it was trained without toolrest's "
            f"weights, so the run was stopped; its output: {log}"
        )


def _last_error(log: Path) -> str:
    """The last line of the log that names an error."""
    lines = iterate_lines(log)
    named = [line.strip() for line in lines if "Error" in line or "WeightsNotApplied" in line]
    return redacted(named[-1])[-300:] if named else "no error is named"


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal verl's process group to end, then kill it; also when interrupted meanwhile."""
    try:
        for number, patience in ((how, _PATIENCE), (signal.SIGTERM, 10.0)):
            if process.poll() is not None:
                return
            os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    finally:
        with suppress(ProcessLookupError):  # nothing of the group is left
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10.0)

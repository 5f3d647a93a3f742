"""A run's folder: what is written where, and who works in it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from toolrest.errors import InputError
from toolrest.io.files import only_one, whole_lines, write_whole
from toolrest.runs.checkpoints import checkpoint_step, checkpoints_in, is_whole

RUNS = Path("runs")
_BEFORE = frozenset(
    {
        *("lock", "worker.lock", "recipe.yaml", "environment.json", "data.json", "warnings.jsonl"),
        *("verl/train.parquet", "verl/heldout.parquet"),
    }
)
"""What a run writes before it works; it is written again in a moment."""


class _Within:
    """The path of a file or folder within a run's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, run: None, owner: type[RunFolder]) -> _Within: ...

    @overload
    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path: ...

    def __get__(self, run: RunFolder | None, owner: type[RunFolder]) -> Path | _Within:
        return self if run is None else run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """runs/<name>/ and the files in it."""

    path: Path
    """The folder itself."""

    recipe = _Within("recipe.yaml")
    """The resolved recipe."""
    environment = _Within("environment.json")
    """Versions, machine, seed and commit."""
    metrics = _Within("metrics.jsonl")
    """One JSON object a step."""
    warm_metrics = _Within("warm_start.jsonl")
    """One JSON object a step of the warm start, which a rewound run keeps: it has steps of its own.
    A run that is supervised alone writes `metrics` instead."""
    data = _Within("data.json")
    """How many rows were used, and which were left out and why."""
    rollouts = _Within("rollouts")
    """Folder: one file a generation with the saved groups."""
    checkpoints = _Within("checkpoints")
    """Folder: checkpoint-<step>, each a Hugging Face checkpoint."""
    warm_start = _Within("warm_start")
    """Folder: the policy after the warm start, a Hugging Face checkpoint."""
    base = _Within("base")
    """Folder: the policy that the run's adapters are trained on, where the recipe's is one of
    adapters itself; a Hugging Face checkpoint."""
    evaluation = _Within("evaluation")
    """Folder: held-out responses before and after, and their scores."""
    curve = _Within("evaluation/curve.jsonl")
    """One JSON object an evaluation on the way."""
    best = _Within("best.json")
    """Which checkpoint is the best, with `evaluation.save_best`."""
    summary = _Within("summary.json")
    """Before and after; written when the run is done."""
    incidents = _Within("incidents")
    """Folder: one file a step at which a number was not finite."""
    environment_log = _Within("environment.log")
    """What the environment's processes printed."""
    warnings = _Within("warnings.jsonl")
    """One JSON object a warning."""
    lock = _Within("lock")
    """Held by the process that was started to train here, to its end."""
    worker_lock = _Within("worker.lock")
    """Held by what that process has started to train, which may outlive it."""

    @property
    def _files(self) -> tuple[Path, ...]:
        """What is read or written as a file."""
        logs = (self.metrics, self.curve, self.warnings, self.best, self.summary)
        return (self.recipe, self.environment, self.data, self.lock, self.worker_lock, *logs)

    @property
    def _folders(self) -> tuple[Path, ...]:
        """What is read or written as a folder."""
        made = (self.rollouts, self.checkpoints, self.warm_start, self.base, self.evaluation)
        return (*made, self.incidents)

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint that is whole, or None."""
        whole = self.whole_checkpoints()
        return whole[max(whole)] if whole else None

    def whole_checkpoints(self) -> dict[int, Path]:
        """{optimiser steps: folder} of the checkpoints that are whole, in order."""
        found = checkpoints_in(self.checkpoints)
        return {checkpoint_step(folder): folder for folder in found if is_whole(folder)}

    @contextmanager
    def held(self, otherwise: str = "wait for it, or stop it first") -> Iterator[None]:
        """Nobody else trains in this folder meanwhile.

        Args:
            otherwise: what to do where somebody does, as the message ends.

        Raises:
            TakenError: somebody does.
            InputError: the folder cannot be written in, or `check_links` fails.
        """
        self.check_links()
        taken = f"{self.path}: another process is training there; {otherwise}"
        with only_one(self.lock, taken):
            if self.worker_lock.exists():
                with only_one(self.worker_lock, taken):
                    pass
            yield

    def worked_in(self) -> AbstractContextManager[int]:
        """Nobody else begins here, even if the process that holds the folder is killed alone.

        Yields:
            A descriptor; a process that is started with it works in the folder until it ends.

        Raises:
            TakenError: somebody else works here.
        """
        return only_one(self.worker_lock, f"{self.path}: another process is training there")

    def is_used(self) -> bool:
        """Whether the folder holds anything that a run does not write anew as it begins."""
        for path in self.path.rglob("*"):
            within = path.relative_to(self.path)
            made = path.is_symlink() or not path.is_dir()
            part = any(name.endswith(".part") for name in within.parts)
            if made and not part and within.as_posix() not in _BEFORE:
                return True
        return False

    def check_links(self, within: Path | None = None) -> None:
        """Nothing in the folder leads out of it, so that what is written there stays there; and
        nothing but files and folders is in it, so that none is waited for.

        Args:
            within: a folder of it that alone is looked at, itself included.

        Raises:
            InputError: a link does, or a FIFO, a socket or a device is there.
        """
        root = _real(self.path)
        if within is not None and not _real(within).is_relative_to(root):
            raise InputError(f"{within}: a link that leads out of the run's folder; take it out")
        for folder, below, names in os.walk(within or self.path):
            for path in (Path(folder) / name for name in (*below, *names)):
                if path.is_symlink() and not _real(path).is_relative_to(root):
                    raise InputError(
                        f"{path}: a link that leads out of the run's folder; take it out"
                    )
                if _is_special(path):
                    raise InputError(f"{path}: neither a file nor a folder; take it out")
        for path in (*self._files, *self._folders):
            if path.exists() and path.is_dir() != (path in self._folders):
                kind = "a folder" if path in self._folders else "a file"
                raise InputError(f"{path}: should be {kind}; take it out")

    def drop_parts(self) -> None:
        """Drop what a process that was killed had not written whole."""
        for part in [*self.path.glob("*.part"), *self.path.glob("*/*.part")]:
            shutil.rmtree(part) if part.is_dir() else part.unlink()

    def rewind(self, step: int) -> None:
        """Drop what was written after optimiser step `step`, and what was not written whole.

        Raises:
            InputError: a line of a file is broken.
        """
        self.drop_parts()
        for path in (self.metrics, self.curve, self.warnings):
            if path.is_file():
                kept = [line for line in whole_lines(path) if _step_of(line, path) <= step]
                write_whole(path, "".join(kept))
        self.best.unlink(missing_ok=True)  # whoever goes on writes it again
        for folder in self.evaluation.glob("*-step-*"):
            written = folder.name.rpartition("-")[2]
            if written.isdecimal() and int(written) > step:
                shutil.rmtree(folder)
        last = int(rollouts_file(self.rollouts, step).stem.split("-")[1])
        for file in self.rollouts.glob("step-*.jsonl"):
            written = file.stem.split("-")[1]
            if written.isdecimal() and int(written) > last:
                file.unlink()
        for folder in checkpoints_in(self.checkpoints):
            if checkpoint_step(folder) > step or not is_whole(folder):
                shutil.rmtree(folder)

    def seconds(self) -> float:
        """What the steps so far took, by the last line of the metrics; 0.0 without any."""
        if not self.metrics.is_file():
            return 0.0
        lines = whole_lines(self.metrics)
        try:
            return float(json.loads(lines[-1]).get("seconds", 0.0)) if lines else 0.0
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return 0.0


def rollouts_file(folder: Path, step: int) -> Path:
    """The file of the rollouts that optimiser step `step`, from 1, was the first to be on.

    Earlier versions named it by the steps done before; such a run has one of step 0, and goes on
    as it began.
    """
    number = step - 1 if (folder / "step-000000.jsonl").exists() else step
    return folder / f"step-{number:06d}.jsonl"


def steps_before(rollout: dict[str, Any]) -> int:
    """The optimiser steps that were done before a rollout of a run was sampled."""
    done = rollout.get("steps_done", rollout.get("step", 0))  # earlier versions called it step
    return done if isinstance(done, int) and done >= 0 else 0


def _real(path: Path) -> Path:
    """Where a path leads; as far as that is known of links that lead nowhere, or to themselves."""
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """Whether a FIFO, a socket or a device is there."""
    try:
        mode = path.stat().st_mode
    except OSError:  # gone since, or a link to nothing
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _step_of(line: str, path: Path) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: a broken line ({error}); take it out") from error

"""Who has a run's folder: one step makes or finds it and holds it.

It is held by its lock until its process ends. Only who holds it writes in it or takes it away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.files import TakenError
from toolrest.io.foreign import user_path
from toolrest.io.objects import object_or_none
from toolrest.runs.ending import to_go_on
from toolrest.runs.folder import RUNS, RunFolder
from toolrest.runs.missing import no_run

_OTHERWISE = "choose another name (name=...), or wait for it"


@contextmanager
def new_run(name: str | None, default: str) -> Iterator[RunFolder]:
    """Make the folder of a new run, and hold it to the end.

    If that is an error and nothing was done, the folder is taken away again.

    Args:
        name: the user's name for it, or None.
        default: the name where there is none; a number is added if it is taken.

    Raises:
        TakenError: a run of the user's name is there already, or begins at this moment.
        InputError: the folder cannot be made.
    """
    with ExitStack() as holding:
        try:
            run = _claim(name, holding) if name is not None else _claim_free(default, holding)
        except OSError as error:
            raise InputError(f"the run's folder cannot be made: {error}") from error
        try:
            yield run
        except BaseException:
            with suppress(OSError):  # the error that ended the run is the one to be told
                if not run.is_used():
                    _take_away(run)
            raise


@contextmanager
def resumed_run(resume: str, *, extended: bool = False) -> Iterator[RunFolder]:
    """Find the run to resume (see `find_run`), and hold it to the end.

    Args:
        extended: whether it is to be trained for longer, so that it may be done.

    Raises:
        TakenError: another process trains there.
        InputError: there is none, or it cannot be held.
    """
    run = find_run(resume, extended=extended)
    with ExitStack() as holding:
        try:
            holding.enter_context(run.held())
        except InputError:
            _check_unfinished(run, resume, extended)
            raise
        _check_unfinished(run, resume, extended)  # who held it before may have ended or removed it
        run.drop_parts()
        yield run


def find_run(resume: str, *, extended: bool = False) -> RunFolder:
    """The run to resume: a run's folder, or `auto` for the newest one that is not done.

    Args:
        extended: whether a run that is named may be done.

    Raises:
        InputError: there is none.
    """
    if resume != "auto":
        run = RunFolder(Path(resume))
        _check_unfinished(run, resume, extended)
        return run
    undone = []
    for recipe in RUNS.glob("*/recipe.yaml"):
        with suppress(FileNotFoundError):  # removed since by the process that made it
            if not RunFolder(recipe.parent).summary.is_file():
                undone.append((recipe.stat().st_mtime, recipe.parent))
    if not undone:
        raise InputError(f"--resume auto: no run in {RUNS} is unfinished")
    return RunFolder(max(undone)[1])


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    place = user_path(str(folder), str(folder)).resolve()
    while not place.exists():
        place = place.parent
    return place


def check_writable(folder: Path = RUNS, otherwise: str = "run toolrest in another folder") -> None:
    """Check that folders of runs can be made; none is.

    Args:
        folder: where.
        otherwise: what to do where they cannot, as the message ends.

    Raises:
        InputError: they cannot.
    """
    place = existing(folder)
    if not place.is_dir():
        raise InputError(
            f"{place} is a file, and runs are kept in a folder there; move it away, or {otherwise}"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{place} cannot be written; make it writable, or {otherwise}")


def check_free(name: str | None) -> None:
    """Check that no run has this name yet; nothing is made or held.

    Raises:
        TakenError: one has it, or begins at this moment.
    """
    if name is None:
        return
    run = RunFolder(RUNS / name)
    if run.lock.is_file():
        with run.held(_OTHERWISE):
            pass
    if _has_run(run):
        raise _taken(run)


def _taken(run: RunFolder) -> TakenError:
    return TakenError(
        f"name={run.path.name}: {run.path} is there already; choose another name, or go on with "
        f"it: toolrest train --resume {run.path}"
    )


def remove_run(run: RunFolder) -> None:
    """Take a run's folder away with all that is in it.

    Raises:
        TakenError: another process trains there.
        OSError: a file cannot be removed.
    """
    with run.held():
        _take_away(run)


def _check_unfinished(run: RunFolder, resume: str, extended: bool) -> None:
    if not run.recipe.is_file():
        raise InputError(f"--resume {resume}: {no_run(run.path)}")
    if run.summary.is_file() and not extended:
        ended = (object_or_none(run.summary) or {}).get("ended_early")
        if isinstance(ended, str):
            raise InputError(
                f"--resume {resume}: that run is done: {ended}; train it on by {to_go_on(ended)}"
            )
        raise InputError(
            f"--resume {resume}: that run is done; train it for longer by a larger max_steps=..."
        )


def _claim(name: str, holding: ExitStack) -> RunFolder:
    """The folder of this name, without a run in it and held.

    Each turn of the loop is one in which another process has taken the folder away.
    """
    run = RunFolder(RUNS / name)
    there = _taken(run)
    while True:
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if os.path.lexists(run.path):
                raise there from None
            continue
        # A lock is not left in a folder of somebody else's. It is removed after all else.
        if not run.lock.exists() and _has_run(run):
            raise there
        with ExitStack() as trying:
            try:
                trying.enter_context(run.held(_OTHERWISE))
            except InputError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue
                raise
            if _has_run(run):
                raise there
            run.drop_parts()
            holding.push(trying.pop_all())
            return run


def _claim_free(default: str, holding: ExitStack) -> RunFolder:
    """A folder that was not there before, held."""
    number = 1
    while True:
        name = default if number == 1 else f"{default}-{number}"
        with suppress(FileExistsError, TakenError):
            (RUNS / name).mkdir(parents=True)
            return _claim(name, holding)
        number += 1


def _has_run(run: RunFolder) -> bool:
    """Whether there is more than what a run leaves that is killed before it begins."""
    known = (run.lock, run.worker_lock)
    return any(path not in known and path.suffix != ".part" for path in _contents(run))


def _contents(run: RunFolder) -> list[Path]:
    try:
        return list(run.path.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # taken away since, or none yet
        return []


def _take_away(run: RunFolder) -> None:
    """Remove a folder that this process holds; from when the lock is gone, it is others' to make.

    Whoever is faster than the last line has the folder: then it is not empty, and stays.
    """
    for path in _contents(run):
        if path != run.lock:
            _remove(path)
    run.lock.unlink()
    with suppress(OSError):
        run.path.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()

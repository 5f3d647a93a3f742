"""Runs the cells of a comparison in child processes; finished cells are skipped."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from toolrest.errors import InputError
from toolrest.experiments.plan import CompareFolder, Plan, cell_name
from toolrest.io import files
from toolrest.io.files import iterate_lines, open_to_add
from toolrest.io.redaction import redacted
from toolrest.recipe import load_recipe, names_code
from toolrest.runs.claims import remove_run

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded here: between fork and exec nothing must be loaded or allocated."""
_GRACE = 60.0
"""Seconds that a stopped cell has to write its checkpoint."""


@contextmanager
def only_one(folder: CompareFolder) -> Iterator[None]:
    """Lock the comparison's folder during the `with` block.

    Raises:
        InputError: somebody does, or the folder cannot be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {folder.path}: no folder to write in ({error.strerror}); use another --out"
        ) from error
    at_work = f"{folder.path}: another toolrest compare is at work there; wait for it, or use "
    with files.only_one(folder.lock, at_work + "another --out"):
        for pattern in ("*.part", "recipes/*.part", "figures/*.part"):
            for part in folder.path.glob(pattern):  # of one that was killed
                part.unlink()
        yield


def die_with(parent: int) -> None:
    """Make a cell end with its parent process, even by kill -9, where the system can."""
    if _LIBC is not None:
        _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # killed before the line above
            os._exit(1)


@dataclass
class Cells:
    """The cells of a comparison and their progress."""

    folder: CompareFolder
    """Where it happens."""
    plan: Plan
    """What is to be done."""
    running: dict[tuple[str, int], subprocess.Popen[bytes]] = field(default_factory=dict)
    """The processes at work."""
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    """Cells that ended without a result, and the last line that they printed."""

    def done(self, cell: tuple[str, int]) -> bool:
        """Whether the cell's run is finished."""
        return self.folder.run(*cell).summary.is_file()

    def run(self, jobs: int, on_tick: Callable[[], None]) -> None:
        """Run every cell that is not done, `jobs` at a time.

        Ctrl-C, or an error here, stops the cells, which write their checkpoints, and goes on to
        the caller.

        Args:
            on_tick: called about twice a second.
        """
        waiting = [cell for cell in self.plan.cells() if not self.done(cell)]
        try:
            while waiting or self.running:
                while waiting and len(self.running) < jobs:
                    cell = waiting.pop(0)
                    try:
                        self.running[cell] = self._start(cell)
                    except InputError as error:
                        self.failed[cell] = str(error)
                self._collect()
                on_tick()
                time.sleep(0.5)
        except BaseException:
            self._stop()
            raise

    def _start(self, cell: tuple[str, int]) -> subprocess.Popen[bytes]:
        method, seed = cell
        run = self.folder.run(method, seed)
        command = [sys.executable, "-c", "from toolrest.cli.main import main; main()", "train"]
        if run.last_checkpoint() is not None and run.recipe.is_file():
            command += ["--resume", str(run.path.absolute())]
            own = names_code(load_recipe(self.folder.recipe(method), []))
            if own and names_code(load_recipe(run.recipe, [])) == own:
                command.append("--trust-remote-code")
        else:
            if run.path.exists():
                remove_run(run)
            command += [str(self.folder.recipe(method).absolute())]
            command += [f"seed={seed}", f"name={cell_name(method, seed)}"]
        log = self.folder.log(method, seed)
        log.parent.mkdir(exist_ok=True)
        threads: dict[str, str] = {name: str(self.plan.threads) for name in THREADS}
        with open_to_add(log) as out:
            return self._open(command, out, threads)

    def _open(
        self, command: list[str], out: IO[bytes], threads: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.folder.path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | threads,
            start_new_session=True,
            preexec_fn=partial(die_with, os.getpid()),
        )

    def _collect(self) -> None:
        for cell, process in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[cell]
            if not self.done(cell):
                said = [line for line in iterate_lines(self.folder.log(*cell)) if line.strip()]
                self.failed[cell] = redacted(said[-1]) if said else "it printed nothing"

    def _stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + _GRACE
        for process in self.running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        self.running.clear()

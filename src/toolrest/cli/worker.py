"""One of a run's processes, as `toolrest.engines.trl.processes` starts them.

It ends with 0 however the run ended, which process 0 writes into a file, so that the launcher
reports no failure of its own after the line that says what is wrong.
"""

import os
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.work import train_in_this_process
from toolrest.engines.common.ranks import join_ranks
from toolrest.io.terminal import keep_streams
from toolrest.recipe import load_recipe
from toolrest.runs.folder import RunFolder


def _end_without(starter: int) -> None:
    """End at once if the process that the user sees is gone."""
    try:
        if psutil.Process(starter).status() != psutil.STATUS_ZOMBIE:
            return
    except psutil.NoSuchProcess:
        pass
    os._exit(1)


def _end_with(starter: int) -> None:
    """Do not outlive the process that the user sees, however it ends."""

    def watch() -> None:
        while True:
            _end_without(starter)
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()


def main(path: str, outcome: str, starter: str, *options: str) -> None:
    """Go on with the run in the folder `path`, for the process of number `starter`."""
    keep_streams()
    _end_with(int(starter))
    run = RunFolder(Path(path))
    ranks = join_ranks()
    code = 0
    try:
        with one_line_errors(), ExitStack() as working:
            ranks.first(lambda: working.enter_context(run.worked_in()))
            _end_without(int(starter))  # it held the folder; another may have it since
            recipe = load_recipe(run.recipe, [])
            quiet = "--quiet" in options
            accept = "--accept-changed-data" in options
            train_in_this_process(recipe, run, ranks, resume=True, quiet=quiet, accept=accept)
    except typer.Exit as ended:
        code = ended.exit_code
    if ranks.main:
        Path(outcome).write_text(str(code), encoding="ascii")
    ranks.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])

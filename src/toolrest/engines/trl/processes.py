"""Several training processes on this machine, started by accelerate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from types import FrameType

import psutil

from toolrest.errors import InputError, unknown_name
from toolrest.recipe import SHIPPED_SHARDING, Engine
from toolrest.recipe.extras import check_deepspeed
from toolrest.runs.folder import RunFolder


def accelerate_config(engine: Engine) -> Path:
    """The configuration file of an engine's sharding.

    Raises:
        InputError: there is no such configuration, or what it needs is not installed.
    """
    name = engine.sharding
    if name.startswith("zero"):
        check_deepspeed(name)
    if name in SHIPPED_SHARDING:
        return Path(str(files("toolrest.engines.trl") / "accelerate" / f"{name}.yaml"))
    if name.endswith((".yaml", ".yml", ".json")):
        if not Path(name).is_file():
            raise InputError(f"engine.sharding={name}: there is no such file")
        return Path(name)
    raise InputError(unknown_name("engine.sharding", name, list(SHIPPED_SHARDING)))


def run_processes(engine: Engine, run: RunFolder, *, quiet: bool, accept: bool = False) -> int:
    """Start the processes of a run, go on with it in them and wait until they end.

    They are a session of their own, so that Ctrl-C reaches this process alone, which tells them to
    stop after the current step; a second one stops them at once.

    Args:
        accept: see `toolrest.training.run_training`.

    Returns:
        The exit code of `toolrest train`.

    Raises:
        InputError: see `accelerate_config`.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(
        max(1, (os.cpu_count() or 1) // engine.processes)
    )
    with tempfile.TemporaryDirectory() as scratch:
        outcome = Path(scratch) / "outcome"
        launch = ["accelerate.commands.accelerate_cli", "launch"]
        options = {
            "config_file": accelerate_config(engine),
            "num_processes": engine.processes,
            "num_cpu_threads_per_process": threads,
            "main_process_port": 0,
        }
        if engine.precision != "auto":  # a configuration of the user's may say otherwise
            options["mixed_precision"] = "bf16" if engine.precision == "bfloat16" else "no"
        worker = ["-m", "toolrest.cli.worker", str(run.path), str(outcome), str(os.getpid())]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", *launch),
                *(word for key, value in options.items() for word in (f"--{key}", str(value))),
                *worker,
                *(["--quiet"] if quiet else []),
                *(["--accept-changed-data"] if accept else []),
            ],
            start_new_session=True,
        )
        asked = 0

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            nonlocal asked
            asked += 1
            for child in _children(process.pid):
                child.send_signal(signal.SIGINT)

        before = {
            number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for child in _children(process.pid):
                child.kill()
        if outcome.is_file():
            return int(outcome.read_text(encoding="ascii"))
        return 130 if asked else process.returncode or 1


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []

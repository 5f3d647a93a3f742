"""Starts the process that runs bfcl-eval, and sends it requests."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from toolrest.errors import InputError

INSTALL = "pip install --no-deps bfcl-eval=={version}"
"""The light install: what bfcl-eval requires is pinned to old versions, and all that its checker
needs is mpmath, which comes with torch."""
VERSIONS = {"v3": "2025.8.5", "v4": "2026.3.23"}
"""The version of bfcl-eval that holds each release of the benchmark."""
BESIDE = "pip install --no-deps --target bfcl-{release} bfcl-eval=={version}"
"""The same in a folder of its own, which PYTHONPATH then names: both releases, side by side."""
_WORKER = "toolrest.evaluate.bfcl.worker"
_START_SECONDS = 60.0
_LAST_WORDS_SECONDS = 5.0
"""After the end of the process; what it has started may hold its stderr open."""
_KEPT = ("PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR", "LANG", "LC_ALL")
"""What the process gets of the environment: no keys."""


class OfficialFailure(Exception):
    """The request failed: the checker raised, or exceeded time or memory."""


class OfficialBFCL:
    """The official checker and simulators, in a process of their own.

    Args:
        seconds: for one request, after which the process is killed and a new one started.
        folder: where bfcl-eval is installed, if not beside toolrest.

    Raises:
        InputError: bfcl-eval is not installed.
    """

    def __init__(self, seconds: float = 60.0, folder: Path | None = None) -> None:
        if folder is None and find_spec("bfcl_eval") is None:
            raise InputError(
                "--on bfcl needs bfcl-eval, which is not installed; for BFCL v3 (the paper's): "
                f"{INSTALL.format(version=VERSIONS['v3'])}"
            )
        self._seconds = seconds
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        try:
            found = self.ask("version")
        except OfficialFailure as failure:
            raise InputError(
                f"bfcl-eval cannot be used: {failure}; versions that can: "
                f"{', '.join(VERSIONS.values())} ({INSTALL.format(version=VERSIONS['v3'])})"
            ) from failure
        self.version: str = found["version"]
        """Of bfcl-eval."""
        self.release: str = found["release"]
        """Of the benchmark: v3 or v4."""
        self.data: str = found["data"]
        """The hash of its questions and answers."""
        self.checker: str = found["checker"]
        """The hash of its checker and simulators."""

    def ask(self, name: str, **arguments: Any) -> Any:
        """The result of a request; see `toolrest.evaluate.bfcl.worker.Official`.

        Raises:
            OfficialFailure: it raised, took longer than allowed, or killed the process.
        """
        fresh = self._process is None
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([name, arguments]) + "\n")
            process.stdin.flush()
            line = self._answers.get(timeout=self._seconds + (_START_SECONDS if fresh else 0))
        except queue.Empty:
            self.close()
            raise OfficialFailure(f"no answer within {self._seconds:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            self.close()
            self._listening.join(_LAST_WORDS_SECONDS)  # what it said last may not be read yet
            told = f": {self._told[-1]}" if self._told else " (too much memory, or killed)"
            raise OfficialFailure(f"the process died{told}")
        reply = json.loads(line)
        if "raised" in reply:
            raise OfficialFailure(reply["raised"])
        return reply["result"]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
            paths = [str(self._folder)] if self._folder is not None else []
            paths += [p for p in sys.path if p]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
                start_new_session=True,
            )
            self._answers: queue.Queue[str] = queue.Queue()
            self._told: deque[str] = deque(maxlen=1)
            self._listening = threading.Thread(
                target=_keep, args=(self._process.stderr, self._told), daemon=True
            )
            self._listening.start()
            threading.Thread(
                target=_read, args=(self._process.stdout, self._answers), daemon=True
            ).start()
        return self._process

    def close(self) -> None:
        """End the process; the next request starts a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _keep(lines: Any, told: deque[str]) -> None:
    for line in lines:
        if line.strip():
            told.append(line.strip()[:300])


def _read(lines: Any, answers: queue.Queue[str]) -> None:
    for line in lines:
        answers.put(line)
    answers.put("")

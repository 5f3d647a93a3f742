"""This side of the starter process: it is begun, asked for forks, and told to kill."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from toolrest.environments.load import Loaded, load
from toolrest.environments.printed import Printed
from toolrest.environments.serve import Manner, serve
from toolrest.environments.source import Source
from toolrest.environments.wire import encode
from toolrest.errors import InputError, printable

LOAD_SECONDS = 120.0
"""Seconds that a source's file may take to be imported."""
FORK_SECONDS = 20.0
"""Seconds that the starter may take to fork, on a machine with much to do."""


@dataclass
class Process:
    """What an episode runs in."""

    channel: socket.socket
    """Requests go out, answers come in."""
    kill: Callable[[], None] = lambda: None
    """End it at once, with all that it started."""
    pid: int | None = None
    """Its process id; None: a thread of this process."""
    ended: Future[str] = field(default_factory=Future)
    """How it ended, such as `ended with code 3`."""


class StarterGone(Exception):
    """The starter process has ended."""


class Starter(Protocol):
    """What begins the processes of episodes."""

    left_out: tuple[str, ...]
    """What is in the source and looks like a tool, but is none, and why."""
    notes: tuple[str, ...]
    """What else a user should know of it, a line each."""
    reusable: bool
    """Whether a process may play many episodes."""

    def is_alive(self) -> bool: ...

    def fork(self) -> Process:
        """
        Raises:
            StarterGone: it has ended.
        """
        ...

    def close(self) -> None: ...


class StarterProcess:
    """A process of `toolrest.environments.child`."""

    def __init__(
        self, source: Source, max_memory: float, seconds: float, output: Path | None
    ) -> None:
        """Begin it and have it load the source.

        Raises:
            InputError: the source cannot be loaded.
        """
        self._channel, theirs = socket.socketpair()
        self._printed = None if output is None else Printed(output)
        self._process = _begin(theirs, self._printed)
        theirs.close()
        self._lock = threading.Lock()
        self._asked: queue.SimpleQueue[Process] = queue.SimpleQueue()
        self._forked: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._alive = True
        self._running: dict[int, Process] = {}
        try:
            loaded = self._load(source, max_memory, seconds)
        except BaseException:
            self._stop()
            raise
        self.left_out, self.notes = tuple(loaded["left_out"]), tuple(loaded["notes"])
        self.reusable = bool(loaded["reusable"])
        self._reader = threading.Thread(target=self._read, daemon=True, name="environment-starter")
        self._reader.start()

    def _load(self, source: Source, max_memory: float, seconds: float) -> dict[str, Any]:
        wanted = {
            **{"source": source.to_json(), "max_memory": max_memory, "seconds": seconds},
            **{"parent": os.getpid(), "pythonpath": os.environ.get("PYTHONPATH")},
        }
        where = f"environment.source={source.label}"
        line = b""
        self._channel.settimeout(LOAD_SECONDS)
        try:
            self._channel.sendall(encode(wanted))
            while not line.endswith(b"\n") and (part := self._channel.recv(65536)):
                line += part
        except TimeoutError:
            raise InputError(
                f"{where}: it took over {LOAD_SECONDS:g} s to import; do what is slow in reset"
            ) from None
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            how = _how(self._process.wait())
            raise InputError(f"{where}: the process that imports it {how}; python {source.place}")
        self._channel.settimeout(None)
        answer = json.loads(line)
        if "refused" in answer:
            raise InputError(answer["refused"])
        return answer

    def _read(self) -> None:
        """Take the starter's news until it ends."""
        with contextlib.suppress(OSError), self._channel.makefile("rb") as lines:
            for line in lines:
                self._hear(json.loads(line))
        self._alive = False
        self._forked.put(None)
        for pid, process in list(self._running.items()):
            _kill_group(pid)
            self._end(process, "was lost with the process that starts episodes")

    def _hear(self, news: dict[str, Any]) -> None:
        """Note what is told. Only this thread changes `_running`, and it never waits for a lock:
        who asks for a fork holds one until its answer has been heard here.
        """
        if "forked" in news:
            pid = news["forked"]
            process = self._asked.get()
            process.pid = pid
            process.kill = lambda: self._kill(pid)
            self._running[pid] = process
            self._forked.put(pid)
        elif (process := self._running.pop(news["ended"], None)) is not None:
            self._end(process, _how(news["status"]))

    def _end(self, process: Process, how: str) -> None:
        if not process.ended.done():
            process.ended.set_result(how)
        with contextlib.suppress(OSError):
            process.channel.shutdown(socket.SHUT_RDWR)  # wakes who waits for an answer

    def is_alive(self) -> bool:
        return self._alive

    def fork(self) -> Process:
        ours, theirs = socket.socketpair()
        process = Process(ours)
        try:
            with self._lock:
                if not self._alive:
                    raise StarterGone
                self._asked.put(process)
                socket.send_fds(self._channel, [encode({"fork": True})], [theirs.fileno()])
                if self._forked.get(timeout=FORK_SECONDS) is None:
                    raise StarterGone
            return process
        except (OSError, queue.Empty, StarterGone):
            ours.close()
            self._stop()
            raise StarterGone from None
        finally:
            theirs.close()

    def _kill(self, pid: int) -> None:
        try:
            with self._lock:
                if pid in self._running:
                    self._channel.sendall(encode({"kill": pid}))
        except OSError:
            pass  # the starter is gone, and what it started is killed by `_read`

    def close(self) -> None:
        """End it; it kills all that it started."""
        self._stop()
        self._reader.join(timeout=5)
        if self._printed is not None:
            self._printed.wait()

    def _stop(self) -> None:
        self._alive = False
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        loaded = hasattr(self, "_reader")
        try:
            self._process.wait(timeout=5 if loaded else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not loaded:
            self._channel.close()


def _begin(theirs: socket.socket, output: Printed | None) -> subprocess.Popen[bytes]:
    """Start the process. It imports from where this one does."""
    paths = os.pathsep.join(each or os.getcwd() for each in sys.path)
    surroundings = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-m", "toolrest.environments.child", str(theirs.fileno())]
    with contextlib.ExitStack() as stack:
        printed: Any = subprocess.DEVNULL
        if output is not None:
            printed = output.end
            stack.callback(os.close, printed)
        return subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            start_new_session=True,  # Ctrl-C is for this process, which then closes it
            env=surroundings,
        )


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class StarterThreads:
    """For objects that no other process can import: each episode runs in a thread of this process.

    An episode that hangs is given up but goes on in its thread until this process ends; its memory
    has no limit, what it prints is seen, and what it draws at random is seeded by `reset` alone.
    """

    def __init__(self, source: Source, max_memory: float) -> None:
        """
        Raises:
            InputError: the objects are no environment.
        """
        self._loaded: Loaded = load(source)
        self._manner = Manner(own_process=False, max_memory=max_memory)
        self.left_out, self.notes = self._loaded.left_out, self._loaded.notes
        self.reusable = self._loaded.reusable

    def is_alive(self) -> bool:
        return True

    def fork(self) -> Process:
        ours, theirs = socket.socketpair()
        process = Process(ours, lambda: _hang_up(ours))

        def work() -> None:
            how = "ended"
            try:
                with theirs:
                    serve(theirs, self._loaded, self._manner)
            except BaseException as error:
                how = printable(f"ended with {type(error).__name__}")
            finally:
                if not process.ended.done():
                    process.ended.set_result(how)

        threading.Thread(target=work, daemon=True, name="environment").start()
        return process

    def close(self) -> None:
        """Threads end by themselves as their sockets close."""


def _hang_up(channel: socket.socket) -> None:
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_RDWR)

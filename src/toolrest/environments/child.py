"""The starter: a process that loads a source once and forks a child for each episode.

`python -m toolrest.environments.child FD`, FD being a socket to the parent. It is light (no torch
but where the source imports it), has one thread, and is what forks, since a fork of a process with
torch's threads may hang. The first line from the parent says what to load, each further one asks
for a fork, whose socket comes with it, or for a kill. It ends when the parent does, and kills all
that its children left.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from toolrest.environments.load import Loaded, load
from toolrest.environments.serve import Manner, serve
from toolrest.environments.source import Source
from toolrest.environments.wire import encode
from toolrest.errors import InputError

_DIE_WITH_PARENT, _ADOPT = 1, 36
"""PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of Linux's prctl."""
_LOOK = 2.0
"""Seconds between looks at whether the parent is there; a fork of it may keep the socket open."""
_LIBC = ctypes.CDLL(None)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, value, 0, 0, 0)


def main() -> None:
    """Load, then fork and reap until the parent is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    _prctl(_DIE_WITH_PARENT, signal.SIGKILL)  # while a user's file runs, which may never end
    with channel.makefile("rb") as lines:
        wanted = json.loads(lines.readline())
    parent = wanted["parent"]
    if os.getppid() != parent:
        return
    if wanted["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = wanted["pythonpath"]
    try:
        loaded = load(Source.from_json(wanted["source"]), wanted["seconds"])
    except InputError as error:
        channel.sendall(encode({"refused": str(error)}))
        return
    _prctl(_DIE_WITH_PARENT, 0)  # it would come with the end of the parent's thread, too
    _prctl(_ADOPT, 1)
    channel.sendall(
        encode(
            {
                "left_out": loaded.left_out,
                "notes": loaded.notes,
                "reusable": loaded.reusable,
            }
        )
    )
    starter = _Starter(channel, parent, loaded, wanted["max_memory"])
    try:
        starter.run()
    finally:
        starter.end()


class _Starter:
    """The children by process id, and the two things that happen: requests, and ends."""

    def __init__(
        self, channel: socket.socket, parent: int, loaded: Loaded, max_memory: float
    ) -> None:
        self._channel = channel
        self._parent = parent
        self._loaded = loaded
        self._max_memory = max_memory
        self._children: set[int] = set()
        self._kept = _children_now()  # a server that the source's file started for all episodes
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        gc.freeze()

    def run(self) -> None:
        """Until the parent is gone."""
        rest = b""
        sockets: list[int] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while os.getppid() == self._parent:
                ready = {key.fileobj for key, _ in selector.select(_LOOK)}
                if self._woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                self._reap()
                if self._channel not in ready:
                    continue
                data, received, _, _ = socket.recv_fds(self._channel, 65536, 16)
                sockets += received
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._do(json.loads(line), sockets)

    def _do(self, request: dict[str, Any], sockets: list[int]) -> None:
        if "kill" in request:
            if request["kill"] in self._children:
                _kill(request["kill"])
            return
        end = sockets.pop(0)
        pid = os.fork()
        if pid == 0:
            self._be_child(end)
        os.close(end)
        self._children.add(pid)
        self._channel.sendall(encode({"forked": pid}))

    def _be_child(self, end: int) -> None:
        """An episode, from here to the end of the process."""
        code = 1
        try:
            os.setsid()
            _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            _prctl(_ADOPT, 1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            os.close(self._woken)
            os.close(self._wake)
            _bound_memory(self._max_memory)
            with socket.socket(fileno=end) as channel:
                serve(channel, self._loaded, Manner(True, self._max_memory))
            code = 0
        finally:
            os._exit(code)  # what the source's file has for its exit is the starter's

    def _reap(self) -> None:
        """Tell of each child that ended; nothing that it started outlives it. What a process leaves
        that was itself left comes to us as that one is reaped.
        """
        while (found := _ended()) is not None:
            pid = found.si_pid
            if pid in self._children:
                _kill(pid)  # its group, while its own number is still taken
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            ours = pid in self._children
            self._children.discard(pid)
            self._kill_left()
            if not ours:
                continue
            with contextlib.suppress(OSError):
                self._channel.sendall(encode({"ended": pid, "status": status}))

    def _kill_left(self) -> None:
        """Kill what a child left in a group of its own: it is ours by adoption."""
        for pid in _children_now() - self._children - self._kept:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill and reap everything."""
        signal.set_wakeup_fd(-1)
        while left := _children_now():
            for pid in left:
                _kill(pid)
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _ended() -> Any:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None


def _children_now() -> set[int]:
    """The children of this process, adopted ones included; Linux alone says."""
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_bytes()
        return {int(each) for each in listed.split()}
    except OSError:
        return set()


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _bound_memory(gigabytes: float) -> None:
    """Let this process grow by so much; no core is left of one that crashes."""
    import resource

    with contextlib.suppress(ValueError, OSError):  # a system without limits, or with tighter ones
        now = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
        most = now + int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()

"""One episode, as this process sees it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import Any, TypeVar

from toolrest.core.dialects import ToolCall
from toolrest.environments import wire
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, Start, Step
from toolrest.environments.starter import Process
from toolrest.errors import reason

CLOSE_SECONDS = 2.0
"""Seconds that `close` of an environment may take."""
_END_SECONDS = 5.0
"""Seconds that are waited for the news that a process has ended."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Limits:
    """How long and how large."""

    call_timeout: float = 30.0
    """Seconds that a reset, the calls of one turn, or a finish may take."""
    episode_timeout: float = 300.0
    """Seconds that all of an episode's may take together; the policy's own time does not count."""
    workers: int = 16
    """Episodes whose requests run at the same time; others wait, which costs them nothing."""
    max_memory: float = 4.0
    """GB (10^9 bytes) that an episode's process may grow by."""


class Episode:
    """Made by `Host.start`. Requests of an episode are made one after the other."""

    def __init__(
        self,
        label: str,
        limits: Limits,
        pool: Executor,
        keep: Callable[[Process], bool] = lambda process: False,
    ) -> None:
        """
        Args:
            label: what messages call the environment.
            pool: runs what waits for the environment.
            keep: takes the process of an episode that has ended well for another one, and says so;
                what it does not take is closed.
        """
        self.start: Start | None = None
        """What it begins with; None where `failure` says why there is nothing."""
        self.failure: str | None = None
        """Why it cannot go on, in one line."""
        self.room: int | None = None
        """How many episodes there may be at once, if it could not begin for that."""
        self.seconds = 0.0
        """Seconds that the environment has been at work, waiting for a worker not included."""
        self._label = label
        self._limits = limits
        self._pool = pool
        self._keep = keep
        self._process: Process | None = None
        self._busy = threading.Lock()
        self._rest = b""
        self._closing: Future[str | None] | None = None
        self._guard = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The id of its process; None: it has none."""
        return self._process.pid if self._process is not None else None

    def is_closed(self) -> bool:
        """Whether it has been closed, and its process has ended."""
        return self._closing is not None and self._closing.done()

    def adopt(self, process: Process) -> None:
        """Take a process, which is then closed with the episode."""
        self._process = process

    def begin(self, process: Process, row: Mapping[str, Any], seed: int) -> None:
        """Reset the environment in its process; a failure is in `failure`."""
        self.adopt(process)
        with contextlib.suppress(EnvironmentFailure):
            value = self._request({"do": "reset", "row": dict(row), "seed": seed})
            self.start = self._read(wire.start_from_json, value, "reset")

    def call(self, calls: Sequence[ToolCall]) -> Future[Step]:
        """Run the calls of one turn, in their order. It returns at once; the result raises
        `EnvironmentFailure` where the episode has failed, now or before.
        """
        request = {"do": "call", "calls": wire.calls_to_json(calls)}
        return self._pool.submit(self._ask, request, wire.step_from_json)

    def finish(self, reply: str, ending: Ending) -> Future[Finish]:
        """Tell the environment what the policy said last. It returns at once, as `call`."""
        request = {"do": "finish", "reply": reply, "ending": ending.value}
        return self._pool.submit(self._ask, request, wire.finish_from_json)

    def close(self) -> Future[str | None]:
        """Close the environment, within `CLOSE_SECONDS`, and end its process; one that is at work,
        or has run over its time, is killed. One that is reusable and has not failed plays the next
        episode instead. It returns at once, but where Python is ending; the result is why `close`
        failed, or None. Nothing is raised, and a second time does nothing.
        """
        with self._guard:
            if self._closing is None:
                if self._busy.locked():
                    self._kill()
                try:
                    self._closing = self._pool.submit(self._close)
                except RuntimeError:  # Python is ending, where pools take no more work
                    self._closing = Future()
                    self._closing.set_result(self._close())
            return self._closing

    def _ask(self, request: dict[str, Any], read: Callable[[Any], Value]) -> Value:
        return self._read(read, self._request(request), request["do"])

    def _read(self, read: Callable[[Any], Value], value: Any, method: str) -> Value:
        try:
            return read(value)
        except (TypeError, ValueError, KeyError) as error:
            raise self._fail(f"{method} answered with another form ({reason(error)})") from error

    def _request(self, request: dict[str, Any]) -> Any:
        """The environment's answer.

        Raises:
            EnvironmentFailure: it failed, now or before.
        """
        method = request["do"]
        with self._busy:
            if self.failure is not None:
                raise EnvironmentFailure(self.failure)
            left = self._limits.episode_timeout - self.seconds
            allowed = min(self._limits.call_timeout, left)
            began = time.monotonic()
            try:
                answer = self._exchange(request, began + allowed)
            except TimeoutError:
                together = left < self._limits.call_timeout
                limit = self._limits.episode_timeout if together else self._limits.call_timeout
                whole = " with what went before" if together else ""
                self._kill()
                raise self._fail(f"{method} took over {limit:g} s{whole}") from None
            except (TypeError, ValueError) as error:
                self._kill()
                raise self._fail(f"{method}: {reason(error)}") from error
            except (EOFError, OSError):
                raise self._fail(f"{method} {self._how_it_ended()}") from None
            finally:
                self.seconds += time.monotonic() - began
            if "failed" in answer:
                self.room = answer.get("room")
                raise self._fail(str(answer["failed"]))
            return answer.get("value")

    def _fail(self, what: str) -> EnvironmentFailure:
        self.failure = f"environment {self._label}: {what}"
        return EnvironmentFailure(self.failure)

    def _exchange(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Send a request, and read its answer.

        Raises:
            TimeoutError: the deadline is over.
            EOFError, OSError: the process has ended.
            TypeError, ValueError: the request, or the answer, is no JSON.
        """
        assert self._process is not None
        channel = self._process.channel
        line = wire.encode(request)
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        channel.sendall(line)
        parts = [self._rest]
        size = 0
        while b"\n" not in parts[-1]:
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
            part = channel.recv(1 << 20)
            if not part:
                raise EOFError
            size += len(part)
            if size > wire.LONGEST_LINE:
                raise ValueError(f"it answered with over {wire.LONGEST_LINE // 10**6} MB")
            parts.append(part)
        answer, _, self._rest = b"".join(parts).partition(b"\n")
        value = json.loads(answer)
        if not isinstance(value, dict):
            raise ValueError("it answered with another form")
        return value

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            return self._process.ended.result(timeout=_END_SECONDS)
        except NotInTime:
            return "hung up"

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _close(self) -> str | None:
        process = self._process
        if process is None:
            return None
        failure = None
        with self._busy:
            clean = self.failure is None and not self._rest and not process.ended.done()
            if clean and self._keep(process):
                self.failure = f"environment {self._label}: it is closed"
                return None
            if not process.ended.done():
                failure = self._close_politely()
            self._kill()
            if process.pid is not None:
                with contextlib.suppress(NotInTime):
                    process.ended.result(timeout=_END_SECONDS)
            process.channel.close()
            if self.failure is None:
                self.failure = f"environment {self._label}: it is closed"
        return failure

    def _close_politely(self) -> str | None:
        try:
            answer = self._exchange({"do": "close"}, time.monotonic() + CLOSE_SECONDS)
        except TimeoutError:
            return f"environment {self._label}: close took over {CLOSE_SECONDS:g} s"
        except (EOFError, OSError, ValueError):
            killed = self.failure is not None  # and that is why nobody answers
            return None if killed else f"environment {self._label}: close {self._how_it_ended()}"
        said = answer.get("failed")
        return None if said is None else f"environment {self._label}: {said}"

"""Environments at work in processes of their own, while the policy samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from toolrest.environments.episode import Episode, Limits
from toolrest.environments.load import is_loading
from toolrest.environments.source import Source, find_source
from toolrest.environments.starter import (
    Process,
    Starter,
    StarterGone,
    StarterProcess,
    StarterThreads,
)
from toolrest.errors import InputError, reason

_ROOM_SECONDS, _ROOM_LOOK = 5.0, 0.1
"""How long, and how often, room on a server is waited for that has none for any episode."""
IN_THREADS = (
    "the environment {label} is made inside of a function or a notebook, so that no other process "
    "can import it: its episodes run in threads of this process, where one that hangs cannot be "
    "ended and memory has no limit; put it at the top of a .py file"
)
"""What is said of a source that cannot have processes."""


class Host:
    """Begins episodes and ends them; a context manager.

    Each episode has a process of its own, forked from a light one that has run the source's file.
    A process is not used for a second episode: a fork costs some milliseconds, and what an episode
    changed cannot reach another. So a class is made anew for each episode, in its process; what is
    slow and the same for all belongs at the top of the file, which is run once. A class of the
    protocol that says `reusable = True`, which is that its `reset` forgets everything, is made once
    a process and reset for each episode; its `close` is called as the host closes.
    """

    def __init__(
        self,
        source: str | type | Callable[..., Any] | Sequence[Callable[..., Any]],
        limits: Limits | None = None,
        output: Path | None = None,
        reward: str | None = None,
    ) -> None:
        """Load the source.

        Args:
            source: see `find_source`.
            output: the file to which what the environments print is added; None: it is dropped.
            reward: see `find_source`.

        Raises:
            InputError: the source is wrong, or a file that is being run for its environment would
                begin environments itself.
        """
        self._source: Source = find_source(source, reward)
        if is_loading():
            raise InputError(
                f"environment={self._source.label}: its file starts training as it is run for the "
                'environment; put the script\'s work under `if __name__ == "__main__":`'
            )
        self.limits = limits if limits is not None else Limits()
        self._output = output
        self._guard = threading.Lock()
        self._episodes: list[Episode] = []
        self._closing_failures: list[str] = []
        self._idle: list[Process] = []
        self._closed = False
        self._room: int | None = None
        self._starter = self._begin()
        self._pool = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="environments")

    @property
    def label(self) -> str:
        """What messages call the environment."""
        return self._source.label

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the environment runs, a line each."""
        live = self._source.kind == "live"
        threads = (IN_THREADS.format(label=self.label),) if live else ()
        none = "it is no tool; name it with an underscore, or add that"
        left_out = (f"{each}: {none}" for each in self.left_out)
        return (*threads, *self._starter.notes, *left_out)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is in the source and looks like a tool, but is none, and why."""
        return self._starter.left_out

    def start(self, jobs: Sequence[tuple[Mapping[str, Any], int]]) -> list[Episode]:
        """Begin episodes, `limits.workers` at a time, and wait until all have begun.

        Args:
            jobs: (row, seed) of each.

        Returns:
            One a job, in their order. One that cannot begin has `failure`, and no `start`.
        """
        with self._guard:
            self._forget_closed()
        futures = [self.begin(row, seed) for row, seed in jobs]
        return [each.result() for each in futures]

    def begin(self, row: Mapping[str, Any], seed: int) -> Future[Episode]:
        """Begin one episode. It returns at once; the result is as those of `start`."""
        episode = Episode(self.label, self.limits, self._pool, self._keep)
        with self._guard:
            self._episodes.append(episode)
        return self._pool.submit(self._reset, episode, row, seed)

    def forget(self) -> None:
        """Drop the episodes that are closed, and keep why some could not be. `start` does so."""
        with self._guard:
            self._forget_closed()

    def waves(
        self, jobs: Sequence[tuple[Mapping[str, Any], int]]
    ) -> Iterator[list[tuple[int, Episode]]]:
        """Begin episodes, all of them at once, or as many as a server has room for. Those of a wave
        are closed before the next is asked for.

        Returns:
            (index of the job, its episode) of each wave; together they are the jobs, each once.
        """
        left = list(range(len(jobs)))
        patience = _ROOM_SECONDS
        while left:
            now = left[: self._room]
            begun = list(zip(now, self.start([jobs[each] for each in now]), strict=True))
            refused = [(at, each) for at, each in begun if each.room is not None]
            if refused:
                self._room = refused[0][1].room or 1
            if len(refused) == len(begun):  # others hold the room, or it is not yet free again
                if patience <= 0:
                    yield begun
                    left = left[len(now) :]
                    continue
                time.sleep(_ROOM_LOOK)
                patience -= _ROOM_LOOK
            else:
                patience = _ROOM_SECONDS
            again = {at for at, _ in refused}
            for _, each in refused:
                each.close().result()
            if len(again) < len(begun):
                yield [(at, each) for at, each in begun if at not in again]
            left = [at for at in left if at in again or at not in now]

    def _forget_closed(self) -> None:
        going = []
        for each in self._episodes:
            if not each.is_closed():
                going.append(each)
            elif (failure := each.close().result()) is not None:
                self._closing_failures.append(failure)
        self._episodes = going

    def _reset(self, episode: Episode, row: Mapping[str, Any], seed: int) -> Episode:
        for _ in range(2):  # the starter may be gone, once
            try:
                process = self._waiting() or self._living_starter().fork()
            except StarterGone:
                continue
            except InputError as error:
                episode.failure = reason(error)
                return episode
            episode.begin(process, row, seed)
            return episode
        episode.failure = f"environment {self.label}: no process can be started for it"
        return episode

    def _keep(self, process: Process) -> bool:
        """Have a process wait for its next episode, if it may play another."""
        with self._guard:
            keeps = self._starter.reusable and not self._closed
            if keeps:
                self._idle.append(process)
            return keeps

    def _waiting(self) -> Process | None:
        """A process that waits for an episode."""
        with self._guard:
            while self._idle:
                process = self._idle.pop()
                if not process.ended.done():
                    return process
        return None

    def _begin(self) -> Starter:
        if self._source.kind == "live":
            return StarterThreads(self._source, self.limits.max_memory)
        return StarterProcess(
            self._source, self.limits.max_memory, self.limits.call_timeout, self._output
        )

    def _living_starter(self) -> Starter:
        with self._guard:
            if not self._starter.is_alive():
                self._starter.close()
                self._starter = self._begin()
            return self._starter

    def close(self) -> list[str]:
        """Close every episode and end every process. A second time does nothing.

        Returns:
            Why environments could not be closed, a line each; those of `Episode.close` included.
        """
        with self._guard:
            self._closed = True
            episodes, self._episodes = self._episodes, []
            idle, self._idle = self._idle, []
        for process in idle:
            episodes.append(Episode(self.label, self.limits, self._pool))
            episodes[-1].adopt(process)
        closing = [each.close() for each in episodes]
        failures = [each.result() for each in closing]
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._starter.close()
        return [*self._closing_failures, *(each for each in failures if each is not None)]

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

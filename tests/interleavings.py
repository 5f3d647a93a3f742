"""Plays threads against each other: one moves at a time, in every order of their stages.

A thread stops before each call that others can see in a folder (it is made, a lock is taken, a file
is renamed or removed), and where a test's code says so. All orders with at most so many preemptions
are played; a switch where a thread has ended is none.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

SEEN = ("mkdir", "open", "close", "listdir", "replace", "unlink", "rmdir")
"""Functions of `os`."""


@dataclass
class Player:
    """A thread, and how it ended."""

    work: Callable[[], Any]
    result: Any = None
    error: BaseException | None = None
    done: bool = False
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    moved: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def run(self) -> None:
        _here.player = self
        self.turn.acquire()
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        self.done = True
        self.moved.release()

    def move(self) -> None:
        """Let it go on to its next stage."""
        self.turn.release()
        assert self.moved.acquire(timeout=30), "it waits for another"


_here = threading.local()


def stage() -> None:
    """Another may go on here."""
    player = getattr(_here, "player", None)
    if player is not None:
        player.moved.release()
        player.turn.acquire()


def stop_at(monkeypatch: Any, names: Sequence[str] = SEEN) -> None:
    """Make calls of these functions, and of flock, stages."""

    def staged(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            stage()
            return real(*arguments, **options)

        return call

    for name in names:
        monkeypatch.setattr(os, name, staged(getattr(os, name)))
    monkeypatch.setattr(fcntl, "flock", staged(fcntl.flock))


def play(works: Sequence[Callable[[], Any]], order: Sequence[int]) -> tuple[list[Player], list]:
    """Play `order`, a thread's index a move, and go on without preemptions.

    Returns:
        The players, and for each move who could have moved and who did.
    """
    players = [Player(work) for work in works]
    threads = [threading.Thread(target=player.run, daemon=True) for player in players]
    for thread in threads:
        thread.start()
    moves: list[tuple[list[int], int]] = []
    last = 0
    while True:
        able = [index for index, player in enumerate(players) if not player.done]
        if not able:
            break
        given = order[len(moves)] if len(moves) < len(order) else None
        last = given if given is not None else last if last in able else able[0]
        moves.append((able, last))
        players[last].move()
    for thread in threads:
        thread.join()
    return players, moves


def every_order(
    works: Callable[[], Sequence[Callable[[], Any]]], preemptions: int
) -> Iterator[list[Player]]:
    """The ends of all orders with at most so many preemptions.

    Args:
        works: called before each order; makes what the threads do, and the folder as it was.
    """
    waiting: list[list[int]] = [[]]
    while waiting:
        order = waiting.pop()
        players, moves = play(works(), order)
        yield players
        taken = [who for _, who in moves]
        for at in range(len(order), len(moves)):
            able, who = moves[at]
            for other in able:
                turned = [*taken[:at], other]
                if other != who and _preemptions(turned, moves) <= preemptions:
                    waiting.append(turned)


def _preemptions(order: Sequence[int], moves: Sequence[tuple[list[int], int]]) -> int:
    """How often one was stopped who could have gone on."""
    pairs = zip(order, order[1:], moves[1:], strict=False)
    return sum(before != now and before in able for before, now, (able, _) in pairs)

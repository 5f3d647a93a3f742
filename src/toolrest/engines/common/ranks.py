"""The processes that train one policy together."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from toolrest.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run."""

    index: int = 0
    """From 0; the process of index 0 writes the run's files and speaks to the user."""
    count: int = 1
    """All of them, on all machines."""

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.index == 0

    def first(self, make: Callable[[], T]) -> T:
        """Call `make` in process 0 and return its result in every process.

        Raises:
            InputError: process 0 raised it; every process does then.
        """
        if self.count == 1:
            return make()
        import torch.distributed as dist

        said: list[Any] = [None, None]
        if self.main:
            try:
                said[0] = make()
            except InputError as error:
                said[1] = str(error)
        dist.broadcast_object_list(said, src=0)
        if said[1] is not None:
            raise InputError(said[1])
        return cast(T, said[0])

    def each(self, value: T) -> list[T]:
        """Gather a value of every process, in order, in every process."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        return any(self.each(flag))

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.each(None)

    def leave(self) -> None:
        """Leave the process group when all work is done.

        torch asks for it before a process ends: threads of the group may abort it otherwise.
        Models that are garbage by then go first. One that goes later takes the group with it while
        it holds the interpreter's lock, for which a thread of the group may wait: a deadlock.
        """
        if self.count > 1:
            import torch.distributed as dist

            gc.collect()
            dist.destroy_process_group()


ALONE = Ranks()


def started_ranks() -> int:
    """How many processes a launcher (accelerate launch, torchrun) has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    """Whether a launcher (accelerate launch, torchrun) has started this process, if only one."""
    return started_ranks() > 1 or "TORCHELASTIC_RUN_ID" in os.environ


def join_ranks() -> Ranks:
    """Meet the other processes that the launcher has started, if there are any."""
    if started_ranks() == 1:
        return ALONE
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Ranks(state.process_index, state.num_processes)

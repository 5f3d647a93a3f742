"""How a user stops training: Ctrl-C, or SIGTERM as schedulers send it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """In the `with` block, the first SIGINT or SIGTERM calls `stop` and each later one raises
    KeyboardInterrupt. Signals that were ignored, as under nohup, are caught as well. The handlers
    from before are restored at the end.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = [signal.signal(number, handle) for number in _ASKING]
    try:
        yield
    finally:
        for number, handler in zip(_ASKING, before, strict=True):
            signal.signal(number, handler)

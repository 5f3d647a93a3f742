"""How far a measurement is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TimeRemainingColumn

from toolrest.estimate.duration import spoken
from toolrest.io.console import console, text_column

_SECONDS = 30.0
"""Between two lines."""


@contextmanager
def shown_progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how much of a work is done, on the error output, within the `with` block.

    Args:
        label: of the work.
        total: all that is to be done.

    Yields:
        What is called with the amount that is done so far.
    """
    view = console(stderr=True)
    if view.is_terminal:
        columns = (text_column("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=view, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    start = last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= _SECONDS:
            last = now
            left = spoken((now - start) / done * (total - done))
            view.print_line(f"{label}: {done}/{total}, {left} left")

    yield tell
